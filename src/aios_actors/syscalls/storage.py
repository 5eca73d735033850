"""Syscalls of the storage service: each agent's own versioned files.

A path is relative, with `/` between its parts. Every change makes a new version, also a deletion. `owner` names
another agent's files, which needs a grant.
"""

from typing import ClassVar

import msgspec

from aios_actors.syscalls.base import Syscall


class FileInfo(msgspec.Struct, frozen=True):
    """One version of a file.

    Attributes:
        path: its path among its owner's files.
        version: 1 for the first one.
        size: bytes of its content in UTF-8.
        digest: SHA-256 of its content, in hex.
        modified: Unix time in seconds at which this version was made.
        deleted: whether this version is the mark of a deletion.
    """

    path: str
    version: int
    size: int
    digest: str
    modified: float
    deleted: bool = False


class Create(Syscall[FileInfo], frozen=True):
    """Make a new file. Errors: InvalidArgument when there is one at `path`, QuotaExceeded."""

    verb: ClassVar[str] = "storage.create"
    path: str
    content: str = ""
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class Write(Syscall[FileInfo], frozen=True):
    """Make or replace a file. Errors: InvalidArgument for a bad path, QuotaExceeded."""

    verb: ClassVar[str] = "storage.write"
    path: str
    content: str
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class Append(Syscall[FileInfo], frozen=True):
    """Add `content` as a new line at the end of a file, which is made if there is none."""

    verb: ClassVar[str] = "storage.append"
    path: str
    content: str
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class Read(Syscall[str], frozen=True):
    """The content of a file, of its newest version or of `version`. Errors: NotFound."""

    verb: ClassVar[str] = "storage.read"
    path: str
    version: int | None = None
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class Delete(Syscall[FileInfo], frozen=True):
    """Delete a file; its versions stay, and `Rollback` brings it back. Errors: NotFound."""

    verb: ClassVar[str] = "storage.delete"
    path: str
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class ListFiles(Syscall[tuple[FileInfo, ...]], frozen=True):
    """The files whose paths start with `prefix`, by path; deleted ones are left out."""

    verb: ClassVar[str] = "storage.list"
    prefix: str = ""
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class History(Syscall[tuple[FileInfo, ...]], frozen=True):
    """All versions of a file, oldest first. Errors: NotFound."""

    verb: ClassVar[str] = "storage.history"
    path: str
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class Rollback(Syscall[FileInfo], frozen=True):
    """Make `version` the newest content again, as a new version. Errors: NotFound."""

    verb: ClassVar[str] = "storage.rollback"
    path: str
    version: int
    owner: str = ""

    def resource(self) -> str:
        return self.owner
