"""Which paths a file may have.

Contract: a path is relative, its parts are separated by `/`, and each part is a name that every file system in use
could hold. There are no folders: a path is a name, and listing goes by prefix.
"""

from aios_actors.kernel.database import check_text
from aios_actors.syscalls.errors import InvalidArgument

PART_LIMIT = 255
PATH_LIMIT = 1024


def check_path(path: str) -> str:
    """The path as it is, if it is a good one.

    Raises:
        InvalidArgument: it is none; the message says which rule it breaks.
    """
    size = len(check_text(path, "path"))
    if not path:
        raise InvalidArgument('path is empty; give one like "notes/today.txt"')
    if size > PATH_LIMIT:
        raise InvalidArgument(f"path {path[:40]!r}... has {size} bytes; at most {PATH_LIMIT} are allowed")
    if any(character < " " or character == "\x7f" for character in path):
        raise InvalidArgument(f"path {path!r} has a control character; remove it")
    if "\\" in path:
        raise InvalidArgument(f'path "{path}" has a backslash; put "/" between its parts')
    if path.startswith("/"):
        raise InvalidArgument(f'path "{path}" is absolute; leave out the "/" at its start')
    for part in path.split("/"):
        _check_part(path, part)
    return path


def _check_part(path: str, part: str) -> None:
    if not part:
        raise InvalidArgument(f'path "{path}" has an empty part; write one "/" between parts and none at the end')
    if part in (".", ".."):
        raise InvalidArgument(f'path "{path}" has the part "{part}"; name the file by its parts from the top')
    if len(part.encode()) > PART_LIMIT:
        raise InvalidArgument(f"path has the part {part[:40]!r}... of more than {PART_LIMIT} bytes; shorten it")
