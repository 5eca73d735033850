"""Notes in SQLite, with full-text search.

Contract: a plain object for one thread. Every method takes the owner, and none ever shows or changes a note of another
one. A change is on its way to the disk when the method returns: the death of the process loses nothing. Ids are unique
in the file and never used again.

Search takes the best by BM25 over stemmed words and prefixes, and ranks these by BM25 (as a share of the best one's)
plus the share of the query's trigrams in them, so that a misspelt name still tells two alike notes apart; newer notes
come first among equals. If no word fits, it goes by trigrams alone, which finds parts of words and scripts without
spaces; queries too short for that match as substrings.
"""

import json
import time
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aios_actors.kernel.database import check_text, open_database, transaction
from aios_actors.kernel.memory import query as fts
from aios_actors.syscalls.errors import InvalidArgument, NotFound, QuotaExceeded
from aios_actors.syscalls.memory import Note

TEXT_LIMIT = 65_536
TAG_LIMIT = 32
RESULT_LIMIT = 100
SIMILAR = 0.4
"""Least share of a query's trigrams that a note must hold; one slip in a word of seven letters leaves 0.4 of them."""

_MIGRATIONS = (
    (
        """CREATE TABLE notes (
            id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, text TEXT NOT NULL,
            tags TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL) STRICT""",
        "CREATE INDEX notes_owner ON notes (owner, updated)",
        """CREATE VIRTUAL TABLE words USING fts5 (
            scope, text, tokenize = 'porter unicode61 remove_diacritics 2', content = '', contentless_delete = 1)""",
        """CREATE VIRTUAL TABLE grams USING fts5 (
            text, tokenize = 'trigram case_sensitive 1', detail = none, content = '', contentless_delete = 1)""",
    ),
)

_TAGGED = "NOT EXISTS (SELECT value FROM json_each(:tags) EXCEPT SELECT value FROM json_each(notes.tags))"
_COLUMNS = "notes.id, notes.text, notes.tags, notes.created, notes.updated"
_BY_WORDS = f"""SELECT {_COLUMNS}, -bm25(words, 0.0, 1.0) AS score FROM words JOIN notes ON notes.id = words.rowid
    WHERE words MATCH :match AND owner = :owner AND {_TAGGED} ORDER BY score DESC, updated DESC, id DESC LIMIT :limit"""
_BY_GRAMS = f"""SELECT {_COLUMNS} FROM grams JOIN notes ON notes.id = grams.rowid
    WHERE grams MATCH :match AND owner = :owner AND {_TAGGED} ORDER BY rank, updated DESC, id DESC LIMIT :limit"""
_BY_SUBSTRING = f"""SELECT {_COLUMNS} FROM notes
    WHERE owner = :owner AND instr(lower(text), lower(:part)) AND {_TAGGED}
    ORDER BY updated DESC, id DESC LIMIT :limit"""
_NEWEST = f"SELECT {_COLUMNS} FROM notes WHERE owner = :owner AND {_TAGGED} ORDER BY updated DESC, id DESC LIMIT :limit"


class MemoryStore:
    """The notes of all owners in one file."""

    def __init__(self, path: Path, quota: int = 100_000, now: Callable[[], float] = time.time) -> None:
        """Opens or makes the file.

        Args:
            path: the database file.
            quota: most notes of one owner.
            now: Unix time in seconds.

        Raises:
            DatabaseUnusable: the file cannot be opened.
        """
        self._connection = open_database(path, _MIGRATIONS)
        self._quota = quota
        self._now = now
        self._counts: dict[str, int] = {}

    def close(self) -> None:
        """Closes the file; the store cannot be used any more."""
        self._connection.close()

    def add(self, owner: str, text: str, tags: Iterable[str] = ()) -> Note:
        """Stores a new note. Raises InvalidArgument, QuotaExceeded."""
        _check_note_text(text)
        labels = _check_tags(tags)
        count = self._count(owner)
        if count >= self._quota:
            raise QuotaExceeded(f"{owner} has {count} notes, which is its quota; remove some first")
        now = self._now()
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO notes (owner, text, tags, created, updated) VALUES (?, ?, ?, ?, ?)",
                (owner, text, json.dumps(labels), now, now),
            )
            id = self._connection.last_insert_rowid()
            self._index(id, owner, text)
        self._counts[owner] = count + 1
        return Note(id=id, text=text, tags=labels, created=now, updated=now)

    def get(self, owner: str, id: int) -> Note:
        """One note. Raises NotFound."""
        row = self._row(f"SELECT {_COLUMNS} FROM notes WHERE id = ? AND owner = ?", (check_id(id), owner))
        if row is None:
            raise NotFound(f"{owner} has no note {id}")
        return _note(row)

    def update(self, owner: str, id: int, text: str, tags: Iterable[str] | None = None) -> Note:
        """Replaces a note's text, and its tags if given. Raises NotFound, InvalidArgument."""
        _check_note_text(text)
        labels = None if tags is None else _check_tags(tags)
        old = self.get(owner, id)
        new = Note(id, text, old.tags if labels is None else labels, old.created, self._now())
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE notes SET text = ?, tags = ?, updated = ? WHERE id = ?",
                (text, json.dumps(new.tags), new.updated, id),
            )
            self._unindex(id)
            self._index(id, owner, text)
        return new

    def remove(self, owner: str, id: int) -> None:
        """Deletes a note. Raises NotFound."""
        self.get(owner, id)
        count = self._count(owner)
        with transaction(self._connection):
            self._connection.execute("DELETE FROM notes WHERE id = ?", (id,))
            self._unindex(id)
        self._counts[owner] = count - 1

    def search(self, owner: str, query: str, limit: int = 5, tags: Iterable[str] = ()) -> tuple[Note, ...]:
        """The notes that fit best, best first; the newest ones if the query is empty. Raises InvalidArgument."""
        check_text(query, "query")
        if not isinstance(limit, int) or not 1 <= limit <= RESULT_LIMIT:
            raise InvalidArgument(f"limit should be 1 to {RESULT_LIMIT}, not {limit!r}")
        values = {"owner": owner, "limit": limit, "tags": json.dumps(_check_tags(tags))}
        if not self._count(owner):
            return ()  # the indexes hold all owners' notes, so that a miss is not free
        if not query.strip():
            return self._notes(_NEWEST, values)
        grams, found = fts.trigrams(query), fts.words(query)
        if found:
            match = fts.match_words(owner, found)
            notes = self._notes(_BY_WORDS, {**values, "match": match, "limit": RESULT_LIMIT})
            if notes:
                return _ranked(notes, grams, limit)
        if not grams:
            return self._notes(_BY_SUBSTRING, {**values, "part": query.strip()})
        notes = self._notes(_BY_GRAMS, {**values, "match": fts.match_trigrams(grams), "limit": RESULT_LIMIT})
        return tuple(note for note in _ranked(notes, grams, limit) if note.score >= SIMILAR)

    def _count(self, owner: str) -> int:
        if owner not in self._counts:
            row = self._row("SELECT count(*) FROM notes WHERE owner = ?", (owner,))
            self._counts[owner] = 0 if row is None else row[0]
        return self._counts[owner]

    def _index(self, id: int, owner: str, text: str) -> None:
        words = (id, fts.scope(owner), unicodedata.normalize("NFC", text))
        self._connection.execute("INSERT INTO words (rowid, scope, text) VALUES (?, ?, ?)", words)
        self._connection.execute("INSERT INTO grams (rowid, text) VALUES (?, ?)", (id, fts.fold(text)))

    def _unindex(self, id: int) -> None:
        self._connection.execute("DELETE FROM words WHERE rowid = ?", (id,))
        self._connection.execute("DELETE FROM grams WHERE rowid = ?", (id,))

    def _row(self, sql: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return row

    def _notes(self, sql: str, values: dict[str, Any]) -> tuple[Note, ...]:
        return tuple(_note(row) for row in self._connection.execute(sql, values))


def _note(row: tuple[Any, ...]) -> Note:
    id, text, tags, created, updated, *score = row
    return Note(id, text, tuple(json.loads(tags)), created, updated, score[0] if score else 0.0)


def _ranked(notes: tuple[Note, ...], grams: frozenset[str], limit: int) -> tuple[Note, ...]:
    """The best `limit` notes by their score as a share of the highest, plus the share of the trigrams in them."""
    highest = max((note.score for note in notes), default=0.0) or 1.0
    scores = {note.id: note.score / highest + fts.overlap(grams, note.text) for note in notes}
    best = sorted(notes, key=lambda note: -scores[note.id])[:limit]
    return tuple(Note(note.id, note.text, note.tags, note.created, note.updated, scores[note.id]) for note in best)


def check_id(id: int) -> int:
    """The id as it is. Raises InvalidArgument if no note could have it."""
    if not isinstance(id, int) or not 0 <= id < 2**63:
        raise InvalidArgument(f"id should be the number of a note, not {id!r}")
    return id


def _check_note_text(text: str) -> None:
    size = len(check_text(text, "text"))
    if not text.strip():
        raise InvalidArgument("text is empty; say what to remember")
    if size > TEXT_LIMIT:
        raise InvalidArgument(f"text has {size} bytes, a note holds at most {TEXT_LIMIT}; split it, or write a file")


def _check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidArgument(f"tags should be a list of strings, not {tags!r}")
    labels = tuple(tags)
    if len(labels) > TAG_LIMIT:
        raise InvalidArgument(f"{len(labels)} tags are too many; a note has at most {TAG_LIMIT}")
    for label in labels:
        if not 1 <= len(check_text(label, "tag")) <= 255:
            raise InvalidArgument(f"tag {label[:40]!r} should have 1 to 255 bytes")
    return tuple(dict.fromkeys(labels))
