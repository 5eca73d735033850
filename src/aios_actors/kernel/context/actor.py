"""The context service: who owns which tokens.

Each conversation belongs to the agent that held it and is kept as tokens, prompt first. A generation that was taken off
its worker, by its policy, by a pause or by the worker's death, is kept here too until it goes on. Sampling depends on
the seed and the position alone, so tokens are all that an exact continuation needs; where their KV is, the worker
knows.

What the kernel saves is on disk within `WRITE_S`; a syscall that changes a conversation is answered when it is on
disk.
"""

from array import array
from pathlib import Path

import structlog

from aios_actors.actors import MailboxSpec, handler
from aios_actors.actors.specs import Exit
from aios_actors.kernel.context.contexts import Contexts, open_contexts
from aios_actors.kernel.context.eviction import Choice
from aios_actors.kernel.context.messages import Forget, ForgetOwner, Latest, Load, Save, Sync, WriteDue
from aios_actors.kernel.context.store import SWITCHED
from aios_actors.kernel.database import StoreThread, check_text
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls.context import (
    ContextInfo,
    DropContext,
    ForkContext,
    ListContexts,
    RestoreSnapshot,
    Snapshot,
    TakeSnapshot,
)
from aios_actors.syscalls.errors import DataUnavailable, InvalidArgument, NotFound

log = structlog.get_logger(__name__)

WRITE_S = 0.05
"""Seconds for which changes are gathered into one write: waking the disk's thread for each costs more than all the rest
that the kernel does for a call, and a generation that a crash takes with it is computed again, the same."""


class Context(KernelActor):
    """Keeps conversations and switched generations."""

    mailbox = MailboxSpec(capacity=16_384)

    def __init__(self, path: Path, memory: int = 256 << 20, eviction: Choice = "k-lru") -> None:
        """Makes an actor that opens its file when it starts.

        Args:
            path: the database, `<data>/context.db`.
            memory: bytes of tokens kept in memory.
            eviction: how it is chosen which conversation leaves memory.
        """
        self._path = path
        self._memory = memory
        self._eviction: Choice = eviction
        self._thread = StoreThread("context")
        self._opened: Contexts | None = None
        self._flushing = False

    async def started(self) -> None:
        """Opens the file. Raises DatabaseUnusable."""
        self._opened = await open_contexts(self._thread, self._path, self._memory, self._eviction)

    async def stopped(self, reason: Exit) -> None:
        """Writes what is left, closes the file and ends the thread."""
        if self._opened is None:
            await self._thread.close()
            return
        try:
            await self._opened.flush()
        finally:
            await self._thread.close(self._opened.close)

    @property
    def contexts(self) -> Contexts:
        """The open conversations."""
        assert self._opened is not None, "handlers run after `started`"
        return self._opened

    # --- for the kernel

    @handler
    async def save(self, message: Save) -> None:
        """Keeps a generation, under its job until it is done, and as the caller's conversation."""
        tokens = array("i", message.prompt + message.generated)
        if message.prompt:
            await self.contexts.put(message.caller, message.conversation, message.model, tokens, len(message.generated))
        if message.done:
            self.contexts.drop(SWITCHED, message.job)
        elif message.prompt:
            self.contexts.fork((message.caller, message.conversation), (SWITCHED, message.job))
        else:
            await self.contexts.put(SWITCHED, message.job, message.model, tokens, len(tokens))
        self._write_soon()

    @handler
    async def load(self, message: Load) -> Snapshot:
        """Hands a switched generation back."""
        return await self._snapshot(SWITCHED, message.job, f"no switched generation {message.job!r}")

    @handler
    def forget(self, message: Forget) -> None:
        """Drops a switched generation; what its conversation has stays."""
        self.contexts.drop(SWITCHED, message.job)
        self._write_soon()

    @handler
    async def latest(self, message: Latest) -> Snapshot:
        """Hands a conversation to the scheduler."""
        return await self._conversation(message.caller, message.conversation)

    @handler
    def forget_owner(self, message: ForgetOwner) -> None:
        """Drops all conversations of an agent."""
        for name in self.contexts.of(message.owner):
            self.contexts.drop(message.owner, name)
        self._write_soon()

    @handler
    async def sync(self, message: Sync) -> None:
        """Writes what is unwritten."""
        await self.contexts.flush()

    @handler
    def write_due(self, message: WriteDue) -> None:
        """Writes what was gathered."""
        self.start_task(self._write(), name="write")

    # --- for agents

    @handler
    async def take(self, call: TakeSnapshot) -> Snapshot:
        """The caller's conversation."""
        return await self._conversation(self.caller, call.conversation)

    @handler
    async def restore(self, call: RestoreSnapshot) -> None:
        """Replaces the caller's conversation."""
        given = call.snapshot
        check_text(given.conversation, "conversation")
        check_text(given.model, "model")
        if not 0 <= given.generated <= len(given.tokens):
            raise InvalidArgument(f"generated is {given.generated}, of {len(given.tokens)} tokens in all; it is a part")
        try:
            tokens = array("i", given.tokens)
        except (OverflowError, TypeError) as error:
            raise InvalidArgument(f"tokens are numbers of 32 bits: {error}") from error
        await self.contexts.put(self.caller, given.conversation, given.model, tokens, given.generated)
        await self.contexts.flush()

    @handler
    async def fork(self, call: ForkContext) -> None:
        """A second conversation that begins as the first is now."""
        caller = self.caller
        check_text(call.name, "name")
        if call.name == call.conversation:
            raise InvalidArgument(f"a fork of {call.name!r} needs another name")
        self._find(caller, call.conversation)
        self.contexts.fork((caller, call.conversation), (caller, call.name))
        await self.contexts.flush()

    @handler
    def list_contexts(self, call: ListContexts) -> tuple[ContextInfo, ...]:
        """The caller's conversations."""
        mine = sorted(self.contexts.of(self.caller).items())
        return tuple(ContextInfo(name, head.model, head.length, head.generated) for name, head in mine)

    @handler
    async def drop(self, call: DropContext) -> None:
        """Forgets the caller's conversation."""
        caller = self.caller
        self._find(caller, call.conversation)
        self.contexts.drop(caller, call.conversation)
        await self.contexts.flush()

    # --- inside

    def _find(self, caller: str, conversation: str) -> None:
        if self.contexts.head(caller, conversation) is None:
            raise NotFound(f"agent {caller!r} has no conversation {conversation!r}")

    async def _conversation(self, caller: str, name: str) -> Snapshot:
        return await self._snapshot(caller, name, f"agent {caller!r} has no conversation {name!r}")

    async def _snapshot(self, owner: str, name: str, missing: str) -> Snapshot:
        head = self.contexts.head(owner, name)
        if head is None:
            raise NotFound(missing)
        tokens = await self.contexts.tokens(owner, name)
        return Snapshot(name, head.model, tuple(tokens), head.generated)

    def _write_soon(self) -> None:
        """Sees to it that changes are written, those of one moment together."""
        if not self._flushing and self.contexts.unwritten:
            self._flushing = True
            self.timers.start("write", WRITE_S, WriteDue())

    async def _write(self) -> None:
        try:
            while self.contexts.unwritten:
                await self.contexts.flush()
        except DataUnavailable as error:
            log.warning("conversations are not written; the next change tries again", error=str(error))
        finally:
            self._flushing = False
