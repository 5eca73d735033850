"""Conversations in SQLite: chunks of tokens, and the heads that name their ends.

Contract: a plain object for one thread. `write` makes a whole batch or nothing of it, so after a crash the file is as
one of the batches left it. Chunks that no head needs any more leave with the batch that made them needless.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from aios_actors.kernel.context.tokens import Chunk
from aios_actors.kernel.database import open_database, transaction

SWITCHED = ""
"""The owner of switched generations, whose names are those of their jobs; no agent has an empty name."""

JOB = "job-"
"""The names of jobs that do not outlive the node start with this."""

_MIGRATIONS = (
    (
        """CREATE TABLE chunks (
            id INTEGER PRIMARY KEY, parent INTEGER REFERENCES chunks DEFERRABLE INITIALLY DEFERRED,
            start INTEGER NOT NULL, tokens BLOB NOT NULL) STRICT""",
        "CREATE INDEX chunks_parent ON chunks (parent)",
        """CREATE TABLE heads (
            owner TEXT NOT NULL, name TEXT NOT NULL, model TEXT NOT NULL, length INTEGER NOT NULL,
            generated INTEGER NOT NULL, chunk INTEGER REFERENCES chunks DEFERRABLE INITIALLY DEFERRED,
            PRIMARY KEY (owner, name)) STRICT, WITHOUT ROWID""",
        "CREATE INDEX heads_chunk ON heads (chunk)",
    ),
)

_CHAIN = """WITH RECURSIVE chain (id, parent, start, tokens) AS (
    SELECT id, parent, start, tokens FROM chunks WHERE id = ?
    UNION ALL SELECT c.id, c.parent, c.start, c.tokens FROM chunks AS c JOIN chain ON c.id = chain.parent)
    SELECT id, start, tokens FROM chain"""
_COLLECT = """DELETE FROM chunks WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM heads WHERE chunk = ?1)
    AND NOT EXISTS (SELECT 1 FROM chunks WHERE parent = ?1) RETURNING parent"""


class HeadRow(Struct, frozen=True):
    """Where a conversation ends: the first `length` tokens of the chain of `chunk`."""

    owner: str
    name: str
    model: str
    length: int
    generated: int
    chunk: int | None


class Batch(Struct, frozen=True):
    """Changes that belong together: new chunks, parents before children; heads as they are now; heads that are gone."""

    chunks: Sequence[Chunk] = ()
    heads: Sequence[HeadRow] = ()
    gone: Sequence[tuple[str, str]] = ()


class ContextStore:
    """The conversations of all agents in one database."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises DatabaseUnusable."""
        self._connection = open_database(path, _MIGRATIONS)
        stale = [head.name for head in self.heads() if head.owner == SWITCHED and head.name.startswith(JOB)]
        self.write(Batch(gone=[(SWITCHED, name) for name in stale]))

    def close(self) -> None:
        """Closes the file; the store cannot be used any more."""
        self._connection.close()

    def heads(self) -> list[HeadRow]:
        """All heads, and with them all that one needs to know of the file's content but the tokens."""
        rows: Iterable[Any] = self._connection.execute("SELECT owner, name, model, length, generated, chunk FROM heads")
        return [HeadRow(*row) for row in rows]

    def next_id(self) -> int:
        """The first id that no chunk ever had while it was needed."""
        row: Any = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM chunks").fetchone()
        return int(row[0])

    def chain(self, chunk: int) -> list[tuple[int, int, bytes]]:
        """(id, start, tokens) of a chunk and of all that it goes on from, root first."""
        rows: list[Any] = self._connection.execute(_CHAIN, (chunk,)).fetchall()
        return rows[::-1]

    def write(self, batch: Batch) -> None:
        """Makes all changes of the batch, or none if it raises."""
        with transaction(self._connection):
            needless: set[int | None] = set()
            for chunk in batch.chunks:
                parent = None if chunk.parent is None else chunk.parent.id
                row = (chunk.id, parent, chunk.start, chunk.tokens.tobytes())
                self._connection.execute("INSERT INTO chunks VALUES (?, ?, ?, ?)", row)
            for head in batch.heads:
                needless.add(self._chunk_of(head.owner, head.name))
                self._connection.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?, ?)", astuple(head))
            for key in batch.gone:
                needless.add(self._chunk_of(*key))
                self._connection.execute("DELETE FROM heads WHERE owner = ? AND name = ?", key)
            for number in needless:
                self._collect(number)

    def _chunk_of(self, owner: str, name: str) -> int | None:
        query = "SELECT chunk FROM heads WHERE owner = ? AND name = ?"
        row: Any = self._connection.execute(query, (owner, name)).fetchone()
        return None if row is None else row[0]

    def _collect(self, chunk: int | None) -> None:
        """Deletes a chunk that nothing needs, and what only it needed."""
        while chunk is not None:
            row: Any = self._connection.execute(_COLLECT, (chunk,)).fetchone()
            chunk = None if row is None else row[0]
