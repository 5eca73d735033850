"""Syscalls of the context service: the caller's conversations as tokens.

A snapshot holds the tokens and how many of them were generated. Sampling is a function of the seed and the
position, so this is all that an exact continuation needs.
"""

from typing import ClassVar

import msgspec

from aios_actors.syscalls.base import Syscall


class Snapshot(msgspec.Struct, frozen=True):
    """A conversation at one moment.

    Attributes:
        conversation: its name.
        model: the model whose tokens these are.
        tokens: all token ids, prompt first.
        generated: how many at the end were generated.
    """

    conversation: str
    model: str
    tokens: tuple[int, ...]
    generated: int


class TakeSnapshot(Syscall[Snapshot], frozen=True):
    """The caller's conversation as it is now. Errors: NotFound."""

    verb: ClassVar[str] = "context.snapshot"
    conversation: str = "main"


class RestoreSnapshot(Syscall[None], frozen=True):
    """Make the caller's conversation of this name what the snapshot says."""

    verb: ClassVar[str] = "context.restore"
    snapshot: Snapshot


class ListContexts(Syscall[tuple[Snapshot, ...]], frozen=True):
    """The caller's conversations."""

    verb: ClassVar[str] = "context.list"


class DropContext(Syscall[None], frozen=True):
    """Forget the caller's conversation. Errors: NotFound."""

    verb: ClassVar[str] = "context.drop"
    conversation: str = "main"
