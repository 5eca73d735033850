"""The journal of one run in SQLite: an append-only list of events, and the results of its tasks.

Contract: a plain object for one thread. What `write` was given outlives the process when it returns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import astuple

from aios_actors.kernel.database import open_database, transaction

_MIGRATIONS = (
    (
        "CREATE TABLE about (id INTEGER PRIMARY KEY CHECK (id = 1), tasks BLOB NOT NULL) STRICT",
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL,
            value BLOB NOT NULL, label TEXT NOT NULL) STRICT""",
        "CREATE INDEX events_task ON events (task, seq)",
        "CREATE TABLE results (task INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT",
    ),
)


class Entry(Struct, frozen=True):
    """One event in the life of a task.

    Attributes:
        task: key of the task.
        kind: the agent asked for something, or got its answer.
        number: which of the task's syscalls, from 1 on.
        value: digest of what was asked for, or the packed answer.
        label: what was asked for, in words.
    """

    task: str
    kind: Literal["ask", "answer"]
    number: int
    value: bytes
    label: str = ""


class JournalStore:
    """The journal of one run."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises DatabaseUnusable, also if another process goes on with the run."""
        self._connection = open_database(path, _MIGRATIONS)

    def close(self) -> None:
        """Closes the file; the store cannot be used any more."""
        self._connection.close()

    def about(self, tasks: bytes) -> bytes:
        """The digest of the run's tasks, which is `tasks` for a new run."""
        self._connection.execute("INSERT OR IGNORE INTO about VALUES (1, ?)", (tasks,))
        row: Any = self._connection.execute("SELECT tasks FROM about").fetchone()
        return bytes(row[0])

    def write(self, entries: Sequence[Entry]) -> None:
        """Appends events."""
        with transaction(self._connection):
            self._connection.executemany(
                "INSERT INTO events (task, kind, number, value, label) VALUES (?, ?, ?, ?, ?)", map(astuple, entries)
            )

    def entries(self, task: str) -> list[Entry]:
        """The events of a task, in the order in which they happened."""
        query = "SELECT task, kind, number, value, label FROM events WHERE task = ? ORDER BY seq"
        rows: Any = self._connection.execute(query, (task,))
        return [Entry(*row) for row in rows]

    def finish(self, task: int, value: bytes) -> None:
        """Keeps the result of a task of the run."""
        self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (task, value))

    def results(self) -> dict[int, bytes]:
        """The results of the tasks that have ended."""
        rows: Any = self._connection.execute("SELECT task, value FROM results")
        return dict(rows)
