"""Mistakes of a config: collected all together, each with its place and a remedy.

Contract: `Mistakes` keeps the first mistake of each path, so that what follows from a wrong value (a name that is then
missing elsewhere in the same entry) is not told twice. `ConfigError` carries them all; its text is for the user.
"""

import difflib
import re
from collections.abc import Iterable, Iterator

import msgspec

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        source: the file, `file:line:column`, or `--set path=value`.
        path: place in the config, such as `agents.writer.model` or `tasks[1].agent`; "" is the whole.
        message: what is wrong there and what to do.
    """

    source: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.path, self.message) if part)


class ConfigError(Exception):
    """Raised when a config cannot be used; `mistakes` are all that were found, in the order of the file's tables."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        count = len(self.mistakes)
        return "\n".join([*map(str, self.mistakes), f"{count} mistake{'' if count == 1 else 's'}"])


class Mistakes:
    """Collects mistakes of one source.

    Args:
        source: what the mistakes are in, as the user named it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._found: dict[tuple[str, str], Mistake] = {}

    def add(self, path: str, message: str, source: str | None = None) -> None:
        """Notes a mistake, unless one is known at this path."""
        mistake = Mistake(source or self.source, path, message)
        key = (mistake.source, path) if path else (mistake.source, message)
        self._found.setdefault(key, mistake)

    def __iter__(self) -> Iterator[Mistake]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)


def join(path: str, key: str | int) -> str:
    """`path` extended by a key, quoted as TOML needs it, or by a list index."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    part = key if _BARE_KEY.fullmatch(key) else f'"{key}"'
    return f"{path}.{part}" if path else part


def suggest(name: str, known: Iterable[str]) -> str:
    """What a wrong name may have meant: `; did you mean "nano"?`, else the names there are."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=1):
        return f'; did you mean "{close[0]}"?'
    if not names:
        return "; there are none"
    shown = ", ".join(f'"{each}"' for each in names[:12])
    return f"; there is {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
