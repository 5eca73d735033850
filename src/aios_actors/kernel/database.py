"""One SQLite file and the one thread that touches it.

Contract: `open_database` gives a connection in WAL mode with an up-to-date schema. A committed change survives the
death of the process (`synchronous=NORMAL` leaves only a power cut uncovered). The file is locked for this process,
because the kernel actors cache what is in it. `StoreThread` runs a store's blocking calls one after the other, off the
event loop.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import apsw

from aios_actors.syscalls.errors import DataUnavailable, InvalidArgument

P = ParamSpec("P")
T = TypeVar("T")

_PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
)

_DISK_ERRORS = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError)


class DatabaseUnusable(Exception):
    """Raised when a database file cannot be opened: damaged, foreign, in use, or of a newer version."""


def open_database(path: Path, migrations: Sequence[tuple[str, ...]], busy_ms: int = 2000) -> apsw.Connection:
    """Opens or makes a database and brings its schema up to date.

    Args:
        path: the file; its folder is made if need be.
        migrations: the statements that lead from each schema version to the next; the version is their number.
        busy_ms: milliseconds to wait for another process to let go of the file.

    Raises:
        DatabaseUnusable: it cannot be used; the message says what to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = apsw.Connection(str(path))
    except apsw.Error as error:
        raise DatabaseUnusable(f"{path}: {error}; is it a file that this user may write?") from error
    try:
        connection.set_busy_timeout(busy_ms)
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        _migrate(connection, path, migrations)
    except apsw.BusyError as error:
        connection.close()
        raise DatabaseUnusable(
            f"{path} is in use by another process; stop that or choose another data folder"
        ) from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        connection.close()
        raise DatabaseUnusable(f"{path}: {error}; move the file away or restore it from a backup") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: apsw.Connection, path: Path, migrations: Sequence[tuple[str, ...]]) -> None:
    version = connection.pragma("user_version")
    if version > len(migrations):
        raise DatabaseUnusable(
            f"{path} has schema version {version}, this program knows {len(migrations)}: it was made by a newer release"
        )
    with transaction(connection):
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement).fetchall()
        connection.pragma("user_version", len(migrations))


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """All changes within are made, or none. A full disk makes SQLite roll back by itself, for which apsw's own does not
    allow.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_text(text: str, what: str) -> bytes:
    """`text` in UTF-8; `what` names it in the error.

    Raises:
        InvalidArgument: it is no string, or holds half of a surrogate pair, which UTF-8 cannot express.
    """
    if not isinstance(text, str):
        raise InvalidArgument(f"{what} should be a string, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} has a lone surrogate at position {error.start}; remove it") from None


class StoreThread:
    """Runs functions in order on one thread of its own.

    An executor of one thread costs 100 us a call (2 cores, Python 3.11), `anyio.to_thread` with a limiter of 1 costs
    120 to 150, and its threads linger. A call whose awaiter was cancelled still completes, before any later one.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or its exception. Raises DataUnavailable when the disk fails the database."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, lambda: function(*args, **kwargs))
        except _DISK_ERRORS as error:
            raise DataUnavailable(
                f"the node's data cannot be read or written: {error}; free or check its disk"
            ) from error

    async def close(self, function: Callable[[], None] | None = None) -> None:
        """Runs `function` after all that was submitted, then ends the thread."""
        try:
            if function is not None:
                await self.run(function)
        finally:
            self._executor.shutdown(wait=True)
