"""The context service: who owns which tokens.

Each conversation belongs to the agent that held it and is kept as tokens, prompt first. A generation that was taken off
its worker, by its policy or by the worker's death, is kept here too until it goes on. Sampling depends on the seed
and the position alone, so tokens are all that an exact continuation needs; where their KV is, the worker knows.
"""

from array import array
from collections import OrderedDict
from dataclasses import dataclass

from aios_actors.actors import MailboxSpec, Message, handler
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls.context import DropContext, ListContexts, RestoreSnapshot, Snapshot, TakeSnapshot
from aios_actors.syscalls.errors import NotFound

TOKENS = 64_000_000
"""Tokens kept at most, 4 bytes each; beyond, the conversations that were not used for longest are forgotten."""


class Save(Message[None], frozen=True):
    """From the scheduler: a stretch of a generation is over, and `done` tells whether the generation is.

    Attributes:
        job: number of the job.
        caller: name of the agent.
        conversation: name of the agent's conversation.
        model: the model whose tokens these are.
        prompt: the prompt's tokens; empty if the worker died before it told them.
        generated: all tokens generated so far.
        done: whether the generation is complete.
    """

    job: int
    caller: str
    conversation: str
    model: str
    prompt: tuple[int, ...]
    generated: tuple[int, ...]
    done: bool


class Load(Message[Snapshot], frozen=True):
    """From the scheduler: the generation `job` goes on. Errors: NotFound."""

    job: int


class Forget(Message[None], frozen=True):
    """From the scheduler: the generation `job` will not go on."""

    job: int


class Latest(Message[Snapshot], frozen=True):
    """From the scheduler: a conversation goes on from its tokens. Errors: NotFound."""

    caller: str
    conversation: str


@dataclass(slots=True)
class Tokens:
    """A conversation's tokens, 4 bytes each."""

    conversation: str
    model: str
    tokens: "array[int]"
    generated: int

    def snapshot(self) -> Snapshot:
        """As a message."""
        return Snapshot(self.conversation, self.model, tuple(self.tokens), self.generated)


class Context(KernelActor):
    """Keeps conversations and switched generations."""

    mailbox = MailboxSpec(capacity=16_384)

    def __init__(self, limit: int = TOKENS) -> None:
        """`limit`: tokens kept at most."""
        self._limit = limit
        self._size = 0
        self._switched: dict[int, Tokens] = {}
        self._conversations: OrderedDict[tuple[str, str], Tokens] = OrderedDict()

    @handler
    def save(self, message: Save) -> None:
        """Keeps a generation, under its job until it is done, and as the caller's conversation."""
        tokens = array("i", message.prompt + message.generated)
        kept = Tokens(message.conversation, message.model, tokens, len(message.generated))
        self._put((message.caller, message.conversation), kept)
        if message.done:
            self._switched.pop(message.job, None)
        else:
            self._switched[message.job] = kept

    @handler
    def load(self, message: Load) -> Snapshot:
        """Hands a switched generation back."""
        kept = self._switched.get(message.job)
        if kept is None:
            raise NotFound(f"no switched generation of job {message.job}")
        return kept.snapshot()

    @handler
    def forget(self, message: Forget) -> None:
        """Drops a switched generation; what its conversation has stays."""
        self._switched.pop(message.job, None)

    @handler
    def latest(self, message: Latest) -> Snapshot:
        """Hands a conversation to the scheduler."""
        return self._find(message.caller, message.conversation).snapshot()

    @handler
    def take(self, call: TakeSnapshot) -> Snapshot:
        """The caller's conversation."""
        return self._find(self.caller, call.conversation).snapshot()

    @handler
    def restore(self, call: RestoreSnapshot) -> None:
        """Replaces the caller's conversation."""
        given = call.snapshot
        kept = Tokens(given.conversation, given.model, array("i", given.tokens), given.generated)
        self._put((self.caller, given.conversation), kept)

    @handler
    def list_contexts(self, call: ListContexts) -> tuple[Snapshot, ...]:
        """The caller's conversations."""
        caller = self.caller
        return tuple(kept.snapshot() for (owner, _), kept in self._conversations.items() if owner == caller)

    @handler
    def drop(self, call: DropContext) -> None:
        """Forgets the caller's conversation."""
        self._find(self.caller, call.conversation)
        self._remove((self.caller, call.conversation))

    def _find(self, caller: str, conversation: str) -> Tokens:
        kept = self._conversations.get((caller, conversation))
        if kept is None:
            raise NotFound(f"agent {caller!r} has no conversation {conversation!r}")
        self._conversations.move_to_end((caller, conversation))
        return kept

    def _put(self, key: tuple[str, str], kept: Tokens) -> None:
        self._remove(key)
        self._conversations[key] = kept
        self._size += len(kept.tokens)
        while self._size > self._limit and len(self._conversations) > 1:
            self._remove(next(iter(self._conversations)))

    def _remove(self, key: tuple[str, str]) -> None:
        kept = self._conversations.pop(key, None)
        if kept is not None:
            self._size -= len(kept.tokens)
