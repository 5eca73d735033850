"""The wordings of tasks and of made-up tools' descriptions: a file for each skill in `wordings/`, a template a line.

`wordings/wider/` goes on where these end, with what is said less often: idioms, notations, jargon, roundabout requests.
See phrases.py for the notation. The order matters: of every five lines the last is held out, so a new template goes to
the end of its wider file.
"""

from pathlib import Path


def _read(folder: Path) -> dict[str, tuple[str, ...]]:
    return {file.stem: tuple(file.read_text(encoding="utf-8").splitlines()) for file in sorted(folder.glob("*.txt"))}


_FOLDER = Path(__file__).parent / "wordings"
TEMPLATES = _read(_FOLDER)
WIDER = _read(_FOLDER / "wider")
