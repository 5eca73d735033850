"""The receiving half of an actor: what becomes of a message that the mailbox does not simply take.

A full mailbox blocks, refuses or drops by its policy; a closed one refuses, but for a dormant actor, which wakes, and
for a draining actor's own mail; an ask that could never end is refused. What is not delivered is counted, kept in the
dead letters, and its asker is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from aios_actors.actors.envelope import Envelope, Scope
from aios_actors.actors.errors import ActorDied, AskCycle, MailboxFull, UnhandledMessage
from aios_actors.actors.handlers import Table
from aios_actors.actors.mailbox import Future, Mailbox
from aios_actors.actors.specs import Exit

if TYPE_CHECKING:
    from aios_actors.actors.system import ActorSystem

State = Literal["starting", "running", "draining", "stopping", "restarting", "dormant", "dead"]


class Receiver(Scope):
    """Base of `Cell`, which sets these fields.

    `ending` is a requested end, `exit` the final one; `on_mail` wakes a dormant actor. `processed`, `skipped` and
    `lost` count messages that were handled, had ended before their turn, or died with the actor.
    """

    __slots__ = (
        "ending", "exit", "handlers", "lost", "mailbox", "name", "on_mail", "passivating", "path", "processed",
        "skipped", "state", "system",
    )  # fmt: skip

    system: ActorSystem
    name: str
    path: str
    state: State
    ending: Exit | None
    exit: Exit | None
    handlers: Table
    mailbox: Mailbox
    on_mail: Callable[[], None] | None
    passivating: bool
    processed: int
    skipped: int
    lost: int

    def unhandled(self, message: object) -> UnhandledMessage:
        """The error for a message that the actor does not take."""
        return UnhandledMessage(self.path, message, tuple(kind.__qualname__ for kind in self.handlers))

    def overflow(self, envelope: Envelope, scope: Scope | None, accepted: Future[Any] | None = None) -> bool:
        """Deals with a message that the mailbox did not take at once; True if its sender has to wait for room.

        Raises:
            ActorDied: for an ask or send to an actor that ends or has ended.
            MailboxFull: by the mailbox's policy.
        """
        mailbox = self.mailbox
        if mailbox.capacity == 0:
            self._closed(envelope, scope, accepted is not None)
            return False
        policy = mailbox.spec.policy
        if policy == "block" and (envelope.future is not None or accepted is not None):
            mailbox.block(envelope, accepted)
            return True
        if policy == "drop_oldest":
            oldest = mailbox.queue.popleft()
            mailbox.dropped += 1
            mailbox.force(envelope)
            self.bury(oldest, "dropped", self._full())
        elif policy == "drop_newest":
            mailbox.enqueued += 1
            mailbox.dropped += 1
            self.bury(envelope, "dropped", self._full())
        else:
            raise self._full()
        return False

    def _full(self) -> MailboxFull:
        spec = self.mailbox.spec
        hint = "; await send() or ask() to wait for room" if spec.policy == "block" else ""
        return MailboxFull(f"{self.path}: its mailbox is full ({spec.capacity} messages, policy {spec.policy}){hint}")

    def _closed(self, envelope: Envelope, scope: Scope | None, sending: bool) -> None:
        """A message to a mailbox that is closed: only a dormant actor, and a draining one's own mail, get theirs."""
        if self.passivating:
            self.mailbox.force(envelope)
        elif self.state == "dormant" and self.on_mail is not None:
            self.mailbox.force(envelope)
            self.on_mail()
        elif self.state == "draining" and scope is not None and scope.cell is self:
            self.mailbox.force(envelope)
        elif envelope.future is not None or sending:
            raise self.died(self.exit or self.ending)
        else:
            self.bury(envelope, "unreachable", None)

    def died(self, exit: Exit | None) -> ActorDied:
        """The error for those who ask, or have asked, an actor that ended."""
        kind = "is stopping" if exit is None or self.state == "draining" else f"is dead ({exit})"
        error = ActorDied(self.path, kind)
        if exit is not None:
            error.__cause__ = exit.cause
        return error

    def refuse_cycle(self, asker: Scope) -> None:
        """Raises AskCycle if this actor waits, directly or through others, for the asker's handler."""
        if self is not asker and not self.waits:
            return
        trail: list[tuple[Scope, tuple[str, ...]]] = [(self, (asker.ref.name, self.name))]
        seen: set[Scope] = set()
        while trail:
            scope, names = trail.pop()
            if scope is asker:
                raise AskCycle(names)
            if scope in seen:
                continue
            seen.add(scope)
            for envelope in scope.waits or ():
                if envelope.holder is not None and not envelope.ended:
                    trail.append((envelope.holder.cell, (*names, envelope.holder.cell.name)))

    def bury(self, envelope: Envelope, why: str, error: BaseException | None) -> None:
        """Puts a message in the dead letters, and answers its asker with `error`."""
        if error is not None:
            envelope.fail(error)
        self.system.dead_letters.add(self.ref, envelope, why, error)

    def dead(self, envelope: Envelope, why: str, cause: BaseException | None) -> None:
        """Buries a message that entered the mailbox; its asker gets ActorDied from `cause`."""
        self.processed += 1
        error = ActorDied(self.path, f"died ({Exit('crashed' if cause else 'killed', cause)})")
        error.__cause__ = cause
        envelope.fail(error)
        self.system.dead_letters.add(self.ref, envelope, why, cause)

    def flush(self, exit: Exit) -> None:
        """Answers all that waits in the mailbox with ActorDied."""
        for envelope, accepted in self.mailbox.clear():
            if envelope.ended or (accepted is not None and accepted.done()):
                self.skipped += 1
                continue
            self.lost += 1
            if accepted is not None:
                accepted.set_exception(self.died(exit))
            else:
                self.bury(envelope, "unreachable", self.died(exit))
