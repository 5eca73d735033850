"""Versioned files in SQLite, content-addressed.

Contract: a plain object for one thread. Every method takes the owner, and none ever shows or changes a file of another
one. Every change is one transaction and makes a new version, a deletion too; when the method returns, the change
outlives the process.

Content lies in the database, once for each SHA-256: a version and its content are then written in one transaction, with
nothing to repair after a crash, and agents' files are small, for which SQLite is at least as fast as a file system.

The quota covers history as well. Each version costs its size and ENTRY bytes. When a change does not fit, the owner's
oldest versions are dropped to make room, but never the newest one of a file: if those alone exceed the quota, the
change is refused. So an owner can always go on, and never takes more than its quota.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aios_actors.kernel.database import check_text, open_database, transaction
from aios_actors.kernel.storage.paths import check_path
from aios_actors.syscalls.errors import InvalidArgument, NotFound, QuotaExceeded
from aios_actors.syscalls.storage import FileInfo

ENTRY = 128
"""Bytes that each version costs beside its content."""

_MIGRATIONS = (
    (
        "CREATE TABLE blobs (digest TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT",
        """CREATE TABLE versions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, path TEXT NOT NULL, version INTEGER NOT NULL,
            digest TEXT REFERENCES blobs, size INTEGER NOT NULL, modified REAL NOT NULL, UNIQUE (owner, path, version)
            ) STRICT""",
        "CREATE INDEX versions_digest ON versions (digest)",
        "CREATE INDEX versions_owner ON versions (owner, seq)",
        """CREATE TABLE heads (
            owner TEXT NOT NULL, path TEXT NOT NULL, seq INTEGER NOT NULL UNIQUE REFERENCES versions,
            PRIMARY KEY (owner, path)) STRICT, WITHOUT ROWID""",
        """CREATE TABLE usage (
            owner TEXT PRIMARY KEY, live INTEGER NOT NULL, total INTEGER NOT NULL) STRICT, WITHOUT ROWID""",
    ),
)

_COLUMNS = "versions.path, version, size, digest, modified, versions.seq"
_HEAD = f"SELECT {_COLUMNS} FROM heads JOIN versions USING (seq) WHERE heads.owner = ? AND heads.path = ?"
_LIST = f"""SELECT {_COLUMNS} FROM heads JOIN versions USING (seq)
    WHERE heads.owner = ?1 AND heads.path >= ?2 AND substr(heads.path, 1, length(?2)) = ?2 AND digest IS NOT NULL
    ORDER BY heads.path"""
_HISTORY = f"SELECT {_COLUMNS} FROM versions WHERE owner = ? AND path = ? ORDER BY version"
_OLDEST = """SELECT versions.seq, versions.path, versions.digest, versions.size, heads.seq FROM versions
    LEFT JOIN heads ON heads.seq = versions.seq
    WHERE versions.owner = ? AND (heads.seq IS NULL OR versions.digest IS NULL) ORDER BY versions.seq LIMIT 1"""

_CONTENT = "SELECT content FROM blobs WHERE digest = ?"
_DROP_BLOB = "DELETE FROM blobs WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM versions WHERE digest = ?1)"


class FileStore:
    """The files of all owners in one database."""

    def __init__(self, path: Path, quota: int = 64 * 2**20, now: Callable[[], float] = time.time) -> None:
        """Opens or makes the database.

        Args:
            path: the database file.
            quota: most bytes of one owner, history included.
            now: Unix time in seconds.

        Raises:
            DatabaseUnusable: the file cannot be opened.
        """
        self._connection = open_database(path, _MIGRATIONS)
        self._quota = quota
        self._now = now

    def close(self) -> None:
        """Closes the database; the store cannot be used any more."""
        self._connection.close()

    def create(self, owner: str, path: str, content: str = "") -> FileInfo:
        """Makes a new file. Raises InvalidArgument if it exists, QuotaExceeded."""
        head = self._head(owner, path)
        if head is not None and not head.deleted:
            raise InvalidArgument(f'there is a file named "{path}" already; write to it, or take another name')
        return self._commit(owner, path, content)

    def write(self, owner: str, path: str, content: str) -> FileInfo:
        """Makes or replaces a file. Raises InvalidArgument, QuotaExceeded."""
        check_path(path)
        return self._commit(owner, path, content)

    def append(self, owner: str, path: str, content: str) -> FileInfo:
        """Adds a line at the end of a file, which is made if there is none. Raises InvalidArgument, QuotaExceeded."""
        head = self._head(owner, path)
        before = "" if head is None or head.deleted else self._content(head)
        separator = "\n" if before and not before.endswith("\n") else ""
        check_text(content, "content")
        return self._commit(owner, path, before + separator + content)

    def read(self, owner: str, path: str, version: int | None = None) -> str:
        """The content of the newest version, or of `version`. Raises NotFound."""
        return self._content(self._live_head(owner, path) if version is None else self._version(owner, path, version))

    def delete(self, owner: str, path: str) -> FileInfo:
        """Marks a file as deleted; its versions stay while there is room. Raises NotFound."""
        self._live_head(owner, path)
        return self._commit(owner, path, None)

    def list(self, owner: str, prefix: str = "") -> tuple[FileInfo, ...]:
        """The newest versions of the files whose paths start with `prefix`, by path."""
        check_text(prefix, "prefix")
        return tuple(_info(row) for row in self._connection.execute(_LIST, (owner, prefix)))

    def history(self, owner: str, path: str) -> tuple[FileInfo, ...]:
        """The versions of a file that are kept, oldest first. Raises NotFound."""
        rows = self._connection.execute(_HISTORY, (owner, check_path(path))).fetchall()
        if not rows:
            raise NotFound(f'no file named "{path}"')
        return tuple(_info(row) for row in rows)

    def rollback(self, owner: str, path: str, version: int) -> FileInfo:
        """Makes the content of `version` the newest again. Raises NotFound, QuotaExceeded."""
        return self._commit(owner, path, self._content(self._version(owner, path, version)))

    def usage(self, owner: str) -> tuple[int, int]:
        """Bytes that the owner's newest versions cost, and that all of its versions cost."""
        row = self._connection.execute("SELECT live, total FROM usage WHERE owner = ?", (owner,)).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    def _commit(self, owner: str, path: str, content: str | None) -> FileInfo:
        """Makes the next version of a good path; None for the content makes a mark of deletion."""
        data = None if content is None else check_text(content, "content")
        with transaction(self._connection):
            head = self._head(owner, path)
            live, total = self.usage(owner)
            live -= 0 if head is None or head.deleted else head.size + ENTRY
            size = 0 if data is None else len(data)
            live += 0 if data is None else size + ENTRY
            if data is not None and live > self._quota:
                raise QuotaExceeded(
                    f'"{path}" with {size} bytes does not fit: the files of {owner} would take {live} bytes '
                    f"({ENTRY} for each file beside its content), its quota is {self._quota}; delete or shorten some"
                )
            info = self._insert(owner, path, 1 if head is None else head.version + 1, data)
            total = self._prune(owner, total + size + ENTRY)
            self._connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?, ?)", (owner, live, total))
        return info

    def _insert(self, owner: str, path: str, version: int, data: bytes | None) -> FileInfo:
        digest = None if data is None else hashlib.sha256(data).hexdigest()
        row = (path, version, 0 if data is None else len(data), digest, self._now())
        if data is not None:
            self._connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, data))
        self._connection.execute(
            "INSERT INTO versions (owner, path, version, size, digest, modified) VALUES (?, ?, ?, ?, ?, ?)",
            (owner, *row),
        )
        seq = self._connection.last_insert_rowid()
        self._connection.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?)", (owner, path, seq))
        return _info(row)

    def _prune(self, owner: str, total: int) -> int:
        """Drops the oldest versions that may go until `total` fits the quota; what it then is."""
        while total > self._quota:
            row = self._connection.execute(_OLDEST, (owner,)).fetchone()
            if row is None:
                break
            seq, path, digest, size, head = row
            if head is not None:
                self._connection.execute("DELETE FROM heads WHERE owner = ? AND path = ?", (owner, path))
            self._connection.execute("DELETE FROM versions WHERE seq = ?", (seq,))
            self._connection.execute(_DROP_BLOB, (digest,))
            total -= size + ENTRY
        return total

    def _head(self, owner: str, path: str) -> FileInfo | None:
        row = self._connection.execute(_HEAD, (owner, check_path(path))).fetchone()
        return None if row is None else _info(row)

    def _live_head(self, owner: str, path: str) -> FileInfo:
        head = self._head(owner, path)
        if head is None or head.deleted:
            raise NotFound(f'no file named "{path}"')
        return head

    def _version(self, owner: str, path: str, version: int) -> FileInfo:
        if not isinstance(version, int):
            raise InvalidArgument(f"version should be a whole number, not {version!r}")
        kept = self.history(owner, path)
        info = next((info for info in kept if info.version == version), None)
        if info is None:
            raise NotFound(f'"{path}" has no version {version}; kept are {kept[0].version} to {kept[-1].version}')
        if info.deleted:
            raise NotFound(f'"{path}" was deleted in version {version}; take an earlier one')
        return info

    def _content(self, info: FileInfo) -> str:
        rows: Iterable[tuple[Any, ...]] = self._connection.execute(_CONTENT, (info.digest,))
        ((data,),) = rows
        return str(data, "utf-8")


def _info(row: tuple[Any, ...]) -> FileInfo:
    path, version, size, digest, modified = row[:5]
    return FileInfo(path, version, size, digest or "", modified, deleted=digest is None)
