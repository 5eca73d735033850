"""Syscalls of the context service: the caller's conversations as tokens.

A snapshot holds the tokens and how many of them were generated. Sampling is a function of the seed and the
position, so this is all that an exact continuation needs.
"""

from array import array
from typing import ClassVar, Self

import msgspec

from aios_actors.syscalls.base import Syscall
from aios_actors.syscalls.errors import InvalidArgument

FORMAT = "aios-snapshot-1"


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

    def to_bytes(self) -> bytes:
        """The snapshot for a file or another node, 4 bytes a token; `from_bytes` reads it."""
        parts = (FORMAT, self.conversation, self.model, array("i", self.tokens).tobytes(), self.generated)
        return msgspec.msgpack.encode(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` made. Raises InvalidArgument if `data` is something else."""
        try:
            parts = msgspec.msgpack.decode(data, type=tuple[str, str, str, bytes, int])
            tokens = array("i", parts[3])
        except (msgspec.MsgspecError, ValueError) as error:
            raise InvalidArgument(f"these {len(data)} bytes are no snapshot of a conversation: {error}") from error
        if parts[0] != FORMAT:
            raise InvalidArgument(f"a snapshot of format {parts[0]!r} cannot be read, only {FORMAT!r}; take a new one")
        return cls(parts[1], parts[2], tuple(tokens), parts[4])


class TakeSnapshot(Syscall[Snapshot], frozen=True):
    """The caller's conversation as it is now. Errors: NotFound."""

    verb: ClassVar[str] = "context.snapshot"
    conversation: str = "main"


class RestoreSnapshot(Syscall[None], frozen=True):
    """Make the caller's conversation of this name what the snapshot says. Errors: InvalidArgument."""

    verb: ClassVar[str] = "context.restore"
    snapshot: Snapshot


class ContextInfo(msgspec.Struct, frozen=True):
    """A conversation without its tokens: `tokens` is their number, of which the last `generated` were generated."""

    conversation: str
    model: str
    tokens: int
    generated: int


class ForkContext(Syscall[None], frozen=True):
    """Make the caller's conversation `name` what `conversation` is now; from then on each goes its own way.

    Errors: NotFound, InvalidArgument when both are the same.
    """

    verb: ClassVar[str] = "context.fork"
    conversation: str
    name: str


class ListContexts(Syscall[tuple[ContextInfo, ...]], frozen=True):
    """The caller's conversations, by name."""

    verb: ClassVar[str] = "context.list"


class DropContext(Syscall[None], frozen=True):
    """Forget the caller's conversation. Errors: NotFound."""

    verb: ClassVar[str] = "context.drop"
    conversation: str = "main"
