"""The base class of actors.

An actor is a class with `@handler` methods, one for each type of message that it takes. It handles one message at a
time, so its attributes need no locks. When something other than a Refusal escapes from it, the instance is thrown
away, and its parent decides whether a fresh one, made from the same class and arguments, takes its place. What an
actor may call on itself is here; what others may do with it is on `ActorRef`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aios_actors.actors.envelope import Envelope, scope_var
from aios_actors.actors.errors import LinkedActorDied
from aios_actors.actors.handlers import Table, build_table
from aios_actors.actors.mailbox import Task
from aios_actors.actors.message import Message
from aios_actors.actors.monitor import Down, DownFactory, Monitor
from aios_actors.actors.reply import Reply
from aios_actors.actors.specs import ChildSpec, Exit, MailboxSpec, Restart, SupervisorSpec
from aios_actors.actors.supervision import Supervision
from aios_actors.actors.timers import Timers

if TYPE_CHECKING:
    from aios_actors.actors.cell import Cell
    from aios_actors.actors.life import Life
    from aios_actors.actors.ref import ActorRef
    from aios_actors.actors.system import ActorSystem


class Actor:
    """Subclass it, and mark handlers with `@handler`.

    Class attributes:
        mailbox: bound and policy of the mailbox.
        restart: the restart type for children whose spec names none.
        supervision: how this actor treats its own children.
        takes: message types that must have a handler; optional, the handlers alone declare as well.
    """

    mailbox: ClassVar[MailboxSpec] = MailboxSpec()
    restart: ClassVar[Restart] = "transient"
    supervision: ClassVar[SupervisorSpec] = SupervisorSpec()
    takes: ClassVar[tuple[type, ...]] = ()
    handlers: ClassVar[Table] = {}
    _cell: Cell

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.handlers = build_table(cls, cls.takes)

    # --- hooks

    async def started(self) -> None:
        """Runs in every new incarnation before its first message; spawn waits for it. An error is a crash (of the first
        incarnation: a failed spawn). May spawn, ask, defer to tasks and set timers."""

    async def stopping(self) -> None:
        """Runs on a graceful stop only, after the mailbox was drained and while children and tasks still live. Not
        after a crash or a kill."""

    async def stopped(self, reason: Exit) -> None:
        """Runs last in every incarnation that was entered, also after a crash or a kill, when children, tasks and
        timers have ended: release what the instance holds. An error in it is logged."""

    # --- who and when

    @property
    def ref(self) -> ActorRef:
        """This actor's own address."""
        return self._cell.ref

    @property
    def system(self) -> ActorSystem:
        """The system in which it lives."""
        return self._cell.system

    @property
    def sender(self) -> ActorRef | None:
        """The actor that first sent the current message, kept over forwards; None if sent from outside any actor. It is
        stamped by the runtime, never claimed by the sender."""
        return cast("ActorRef | None", self._current().sender)

    @property
    def request_id(self) -> int:
        """A number for the current message, unique in the system and kept over forwards: what logs name it by."""
        current = self._current()
        if not current.number:
            current.number = self.system.new_number()
        return current.number

    @property
    def deadline(self) -> float | None:
        """When the asker of the current message stops waiting, on the system's clock; None if it does not."""
        current = self._cell.current
        return None if current is None else current.deadline

    # --- answering

    def defer(self) -> Reply[Any]:
        """Takes over the reply slot of the current message; the handler then returns nothing."""
        return self._life().defer(self._current())

    def forward(self, ref: ActorRef, message: Message[Any]) -> None:
        """Sends `message` in place of the current one: the answer, the sender and the deadline stay those of the asker.

        Raises:
            UnhandledMessage: the receiver takes no such message.
            AskCycle: the asker waits for itself then.
            ActorDied, MailboxFull: the receiver cannot take it.
        """
        envelope, target = self._current(), ref.cell
        if type(message) not in target.handlers:
            raise target.unhandled(message)
        if envelope.future is not None and envelope.sender is not None:
            asker = envelope.sender.cell
            if asker.waits and envelope in asker.waits:
                target.refuse_cycle(asker)
        moved, envelope.message, envelope.holder = envelope.message, message, target
        if target.mailbox.offer(envelope):
            return
        try:
            target.overflow(envelope, scope_var.get())
        except BaseException:
            envelope.message, envelope.holder = moved, self._cell
            raise

    def stash(self) -> None:
        """Puts the current message aside, unanswered, until `unstash_all`. Raises StashFull beyond the mailbox's
        bound.
        """
        self._life().stash(self._current())

    def unstash_all(self) -> None:
        """Puts the stashed messages back at the head of the mailbox, oldest first."""
        self._life().unstash()

    # --- working

    def start_task(self, work: Coroutine[Any, Any, Any], name: str = "task", *, deadline: bool = False) -> Task[Any]:
        """Runs `work` beside the handlers, as a part of this incarnation.

        It is cancelled when the incarnation ends, and its exception crashes the actor. Asks in it carry this actor as
        sender, and with `deadline` also the deadline of the current message.
        """
        return self._life().start_task(work, name, self._cell.current if deadline else None)

    @property
    def timers(self) -> Timers:
        """Keyed timers of this incarnation."""
        life = self._life()
        if life.timers is None:
            life.timers = Timers(self._cell)
        return life.timers

    async def spawn(
        self, what: ChildSpec | type[Actor], *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef:
        """Starts a child, from a spec or from a class and its arguments. See `Supervision.spawn` for errors."""
        spec = what if isinstance(what, ChildSpec) else ChildSpec(factory=what, name=name, args=args, kwargs=kwargs)
        return await self._children().spawn(spec)

    def stop(self) -> None:
        """Ends this actor gracefully, after the messages that wait already. A permanent child is restarted then."""
        self._cell.end(Exit("stopped"), self._cell.spec.shutdown_s, final=False)

    # --- watching

    def monitor(self, ref: ActorRef, factory: DownFactory = Down) -> Monitor:
        """Has `factory(ref, exit)`, by default a Down, delivered once when `ref` is dead, at once if it is already.

        Raises:
            UnhandledMessage: the default Down is used and this actor has no handler for it.
        """
        if factory is Down and Down not in self._cell.handlers:
            raise self._cell.unhandled(Down(ref, Exit("stopped")))
        monitor = Monitor(self._cell, ref, factory)
        life = self._life()
        if life.monitors is None:
            life.monitors = []
        life.monitors.append(monitor.cancel)
        return monitor

    def link(self, ref: ActorRef) -> None:
        """Ties this incarnation to that of `ref`: when one crashes or is killed, the other crashes with
        LinkedActorDied.
        """
        other = ref.cell.life
        if other is None:
            self._life().fail(LinkedActorDied(f"{self._cell.path} was linked to {ref.path}, which has no life"))
        else:
            self._life().link(other)

    # --- inside

    def _life(self) -> Life:
        life = self._cell.life
        if life is None or life.actor is not self:
            raise RuntimeError(f"{self._cell.path}: this incarnation has ended, or is not started yet (use `started`)")
        return life

    def _current(self) -> Envelope:
        current = self._cell.current
        if current is None:
            raise RuntimeError(f"{self._cell.path}: no message is being handled now")
        return current

    def _children(self) -> Supervision:
        cell = self._cell
        if cell.supervision is None:
            cell.supervision = Supervision(cell.system, cell, self.supervision)
        return cell.supervision

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self._cell.path} {self._cell.state}>"


class Supervisor(Actor):
    """An actor that only supervises: `await system.spawn(Supervisor, SupervisorSpec(...), name="kernel")`.

    Its children are started in order before its own start ends, and are found as `system.actor_of("kernel/child")`.
    """

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._cell.supervision = Supervision(self._cell.system, self._cell, spec)

    async def started(self) -> None:
        """Starts the children, left to right."""
        for child in self._spec.children:
            await self.spawn(child)
