"""The address of an actor.

A ref names one actor for good: it stays valid while the actor is restarted, and after its death answers every ask with
ActorDied. Refs are hashable and equal only to themselves. A send is refused at once when the actor takes no such
message. FIFO holds for each pair of sender and receiver, and a message is delivered at most once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aios_actors.actors.deadlines import SLOT_S
from aios_actors.actors.envelope import Envelope, Scope, scope_var
from aios_actors.actors.errors import Refusal
from aios_actors.actors.mailbox import CancelledError
from aios_actors.actors.message import Message, R
from aios_actors.actors.specs import Exit

if TYPE_CHECKING:
    from aios_actors.actors.cell import Cell


class ActorRef:
    """Sends messages to one actor, and stops it."""

    __slots__ = ("__weakref__", "_cell")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    @property
    def name(self) -> str:
        """The actor's own name."""
        return self._cell.name

    @property
    def path(self) -> str:
        """The names from the root of the system to the actor, `/parent/child`."""
        return self._cell.path

    @property
    def alive(self) -> bool:
        """Whether the actor can still answer: it is starting, running, being restarted, or passivated."""
        return self._cell.alive

    @property
    def pending(self) -> int:
        """Messages that wait, plus one if a handler is at work."""
        cell = self._cell
        return len(cell.mailbox.queue) + (cell.current is not None)

    @property
    def cell(self) -> Cell:
        """The runtime's side of the actor; for the runtime and `testing`."""
        return self._cell

    def tell(self, message: Message[Any]) -> None:
        """Sends without waiting for an answer. A message to a dead actor goes to the dead letters.

        Raises:
            UnhandledMessage: the actor takes no such message.
            MailboxFull: it is full and its policy is `block` (await `send` instead) or `reject`.
        """
        cell = self._cell
        if type(message) not in cell.handlers:
            raise cell.unhandled(message)
        scope = scope_var.get()
        if scope is None:
            cell.system.check_open()
        envelope = Envelope(message, None, None if scope is None else scope.ref, cell)
        if not cell.mailbox.offer(envelope):
            cell.overflow(envelope, scope)

    async def send(self, message: Message[Any]) -> None:
        """Like `tell`, but waits for room in a mailbox whose policy is `block`.

        Raises:
            UnhandledMessage: the actor takes no such message.
            MailboxFull: the mailbox is full and its policy is `reject`.
            ActorDied: the actor died before there was room.
        """
        cell = self._cell
        if type(message) not in cell.handlers:
            raise cell.unhandled(message)
        scope = scope_var.get()
        if scope is None:
            cell.system.check_open()
        envelope = Envelope(message, None, None if scope is None else scope.ref, cell)
        if not cell.mailbox.offer(envelope):
            accepted = cell.system.new_future()
            try:
                if cell.overflow(envelope, scope, accepted):
                    await accepted
            finally:
                accepted.cancel()

    async def ask(self, message: Message[R], timeout: float | None = None) -> R:  # noqa: ASYNC109
        """Sends `message` and waits for its reply.

        Args:
            message: what to ask; its type argument is the reply's type.
            timeout: seconds until the deadline. Within a handler the deadline of the message being handled applies as
                well, whichever is earlier.

        Raises:
            UnhandledMessage: the actor takes no such message.
            DeadlineExceeded, ActorDied, MailboxFull, AskCycle, SystemClosed: see `errors`.
            Exception: whatever Refusal the handler raised.
        """
        cell = self._cell
        if type(message) not in cell.handlers:
            raise cell.unhandled(message)
        scope = scope_var.get()
        system = cell.system
        deadline = None if timeout is None else system.now() + timeout
        if scope is None:
            if system.closing:
                system.check_open()
            future = system.new_future()
            envelope = Envelope(message, future, None, cell, deadline)
        else:
            if scope.current is not None:
                inherited = scope.current.deadline
                if inherited is not None and (deadline is None or inherited < deadline):
                    deadline = inherited
            if scope.waits is not None:
                cell.refuse_cycle(scope.cell)
            future = system.new_future()
            envelope = Envelope(message, future, scope.ref, cell, deadline)
            if scope.waits is not None:
                scope.waits.append(envelope)
        members = None
        if deadline is not None:
            slot = deadline // SLOT_S
            members = system.deadlines.slots.get(slot)
            if members is None:
                members = system.deadlines.open(slot)
            members.add(envelope)
        try:
            if not cell.mailbox.offer(envelope):
                self._overflow(envelope, scope)
            return await future  # type: ignore[no-any-return]
        except CancelledError:
            if not future.cancel() and not future.cancelled():
                future.exception()  # seen: the caller ends before it can look
            envelope.abandon()
            raise
        finally:
            if members is not None:
                members.discard(envelope)
            if scope is not None and scope.waits is not None:
                scope.waits.remove(envelope)

    def _overflow(self, envelope: Envelope, scope: Scope | None) -> None:
        try:
            self._cell.overflow(envelope, scope)
        except Refusal:
            assert envelope.future is not None
            envelope.future.cancel()
            raise

    def stop(self, drain_s: float | None = None) -> None:
        """Asks for a graceful stop: no new mail, what waits is handled for at most `drain_s` (default: its spec's)."""
        self._cell.stop(drain_s)

    def kill(self) -> None:
        """Ends the actor now: its handler is cancelled, what waits is answered with ActorDied. It is not restarted."""
        self._cell.kill()

    async def join(self) -> Exit:
        """Waits until the actor is dead for good, and says why it died."""
        return await self._cell.joined()

    def __repr__(self) -> str:
        cell = self._cell
        return f"<ActorRef {cell.path} {cell.kind} {cell.state} pending={self.pending}>"
