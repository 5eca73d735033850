"""The wordings of tasks and of made-up tools' descriptions: a file for each skill in `wordings/`, a template a line.

See phrases.py for the notation. The order matters: of every five lines the last is held out, so a new template goes to
the end of its file.
"""

from pathlib import Path

TEMPLATES: dict[str, tuple[str, ...]] = {
    file.stem: tuple(file.read_text(encoding="utf-8").splitlines())
    for file in sorted((Path(__file__).parent / "wordings").glob("*.txt"))
}
