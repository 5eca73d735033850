"""Syscalls of the memory service: notes that outlive a conversation.

A note belongs to the agent that added it. `owner` names another agent's notes, which needs a grant.
"""

from typing import ClassVar

import msgspec

from aios_actors.syscalls.base import Syscall


class Note(msgspec.Struct, frozen=True):
    """One remembered text.

    Attributes:
        id: number of the note, unique in the node.
        text: what was remembered.
        tags: labels to filter by.
        created: Unix time in seconds.
        updated: Unix time of the last change, in seconds.
        score: relevance to the query that found it, higher is better; 0 where there was no query.
    """

    id: int
    text: str
    tags: tuple[str, ...] = ()
    created: float = 0.0
    updated: float = 0.0
    score: float = 0.0


class Add(Syscall[Note], frozen=True):
    """Remember `text`. Reply: the note with its id."""

    verb: ClassVar[str] = "memory.add"
    text: str
    tags: tuple[str, ...] = ()


class Get(Syscall[Note], frozen=True):
    """One note by id. Errors: NotFound."""

    verb: ClassVar[str] = "memory.get"
    id: int
    owner: str = ""

    def resource(self) -> str:
        return self.owner


class Update(Syscall[Note], frozen=True):
    """Replace the text (and the tags, if given) of the caller's note `id`. Errors: NotFound."""

    verb: ClassVar[str] = "memory.update"
    id: int
    text: str
    tags: tuple[str, ...] | None = None


class Remove(Syscall[None], frozen=True):
    """Forget the caller's note `id`. Errors: NotFound."""

    verb: ClassVar[str] = "memory.remove"
    id: int


class Search(Syscall[tuple[Note, ...]], frozen=True):
    """The notes that fit `query` best, best first; those with all of `tags` only. At most `limit`."""

    verb: ClassVar[str] = "memory.search"
    query: str
    limit: int = 5
    tags: tuple[str, ...] = ()
    owner: str = ""

    def resource(self) -> str:
        return self.owner
