"""The runtime's side of one actor: what stays while incarnations come and go.

A cell has the actor's name, spec, mailbox, ref, children and watchers, and moves through the states starting, running,
draining (stop asked, mail is worked off), stopping (hooks and children end), restarting, dormant (passivated) and
dead. Whatever happens, each message that entered is handled, dropped or put in the dead letters, and each ask ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from aios_actors.actors.deadlines import Alarm
from aios_actors.actors.envelope import Envelope, Scope
from aios_actors.actors.errors import ActorDied, AskCycle, MailboxFull, StartFailed, UnhandledMessage
from aios_actors.actors.handlers import Table
from aios_actors.actors.life import Life
from aios_actors.actors.mailbox import Future, Mailbox
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.specs import ChildSpec, Exit, MailboxSpec, Restart

log = logging.getLogger("aios_actors.actors")

if TYPE_CHECKING:
    from aios_actors.actors.actor import Actor
    from aios_actors.actors.supervision import Supervision
    from aios_actors.actors.system import ActorSystem

State = Literal["starting", "running", "draining", "stopping", "restarting", "dormant", "dead"]
Watcher = Callable[[ActorRef, Exit], None]


class Cell(Scope):
    """One actor's permanent part. Only the runtime touches it."""

    __slots__ = (
        "actor_class", "alarm", "ending", "exit", "final", "handlers", "joiners", "life", "lost", "mailbox", "name",
        "on_mail", "parent", "passivating", "path", "processed", "restart_type", "restarts", "since", "skipped", "spec",
        "started", "state", "supervision", "suspended", "system", "watchers",
    )  # fmt: skip

    def __init__(
        self, system: ActorSystem, parent: Supervision, spec: ChildSpec, name: str, dormant: bool = False
    ) -> None:
        super().__init__(ActorRef(self), None)
        self.waits = []
        self.system = system
        self.parent = parent
        self.spec = spec
        self.name = name
        self.path: str = f"{parent.path}/{name}"
        self.state: State = "starting"
        # A requested end; `life` acts on it as soon as it can.
        self.ending: Exit | None = None
        # How the actor ended for good.
        self.exit: Exit | None = None
        self.final = True
        self.since = 0.0
        self.processed = self.skipped = self.lost = self.restarts = 0
        self.suspended: Future[None] | None = None
        self.alarm: Alarm | None = None
        self.joiners: list[Future[Exit]] | None = None
        self.watchers: list[Watcher] | None = None
        self.started: Future[None] | None = None
        self.supervision: Supervision | None = None
        self.on_mail: Callable[[], None] | None = None
        self.life: Life | None = None
        self.passivating = False
        actor = None if dormant else self._build()
        self.actor_class: type[Actor] = spec.factory if actor is None else type(actor)  # type: ignore[assignment]
        self.handlers: Table = system.traced(self.ref, self.actor_class.handlers)
        self.restart_type: Restart = spec.restart or self.actor_class.restart
        mailbox: MailboxSpec = spec.mailbox or self.actor_class.mailbox
        self.mailbox: Mailbox = system.new_mailbox(mailbox, system.new_future)
        if actor is None:
            self._sleep()
        else:
            self.life = Life(self, actor)

    def _build(self) -> Actor:
        """A fresh instance, which knows its cell before its `__init__` runs."""
        factory = self.spec.factory
        try:
            if isinstance(factory, type):
                actor: Any = object.__new__(factory)
                actor._cell = self
                actor.__init__(*self.spec.args, **self.spec.kwargs)
            else:
                actor = factory(*self.spec.args, **self.spec.kwargs)
                actor._cell = self
        except Exception as error:
            raise StartFailed(f"{self.path}: {type(error).__name__} in __init__: {error}") from error
        return actor  # type: ignore[no-any-return]

    @property
    def kind(self) -> str:
        """The name of the actor's class."""
        return self.actor_class.__qualname__

    @property
    def alive(self) -> bool:
        """Whether the actor may still answer something."""
        return self.exit is None and (self.ending is None or self.passivating)

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting, at work, owed or begun."""
        life, children = self.life, self.supervision
        return (
            self.state == "running"
            and self.current is None
            and not self.mailbox.queue
            and life is not None
            and not (life.deferred or life.tasks or life.stashed)
            and not (children is not None and children.children)
        )

    # --- messages on their way in

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

    def abandoned(self, envelope: Envelope) -> None:
        """See Holder. A waiting message is skipped when its turn comes; a running handler is cancelled."""
        if envelope is self.current and self.life is not None:
            self.life.interrupt(envelope)

    # --- what is not delivered

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

    # --- from birth to death

    def opened(self) -> None:
        """The incarnation's `started` has ended well."""
        if self.ending is None:
            self.state = "running"
        if self.started is not None:
            self.started.set_result(None)
            self.started = None
        self.system.emit("started", self.ref, None)

    def restart(self) -> None:
        """Begins a new incarnation; one that cannot be built counts as one that crashed."""
        if self.ending is not None or self.state not in ("restarting", "dormant"):
            return
        self.restarts += self.state == "restarting"
        self.state = "starting"
        self.mailbox.capacity = self.mailbox.spec.capacity
        try:
            self.life = Life(self, self._build())
        except StartFailed as error:
            self.life_ended(Exit("crashed", error))

    def stop(self, drain_s: float | None = None) -> None:
        """Asks for a graceful end, which is final."""
        self.end(Exit("stopped"), self.spec.shutdown_s if drain_s is None else drain_s)

    def end(self, exit: Exit, drain_s: float, final: bool = True) -> None:
        """Closes the mailbox and lets the incarnation work off what it holds for at most `drain_s` seconds.

        An end that is not `final` leaves it to the parent whether the actor is restarted.
        """
        if self.state == "dead":
            return
        if self.ending is not None:  # a second call can only make the end final
            self.final = self.final or final
            self.passivating = self.passivating and not final
            return
        self.final = final
        self.ending = exit
        self.mailbox.capacity = 0
        if self.life is None:
            self.die(exit)
            return
        self.state = "draining"
        self.alarm = Alarm(self.system.clock)
        self.alarm.set(drain_s, self._drained)
        self.mailbox.wake()

    def _drained(self) -> None:
        """The time to drain is over: what is left gets an error, what still runs is cancelled."""
        life = self.life
        assert life is not None and self.ending is not None and self.alarm is not None
        self.alarm.set(self.spec.shutdown_s, self.kill)
        self._flush(self.ending)
        for reply in list(life.deferred or ()):
            reply.fail(self.died(self.ending))
        if self.current is not None:
            self.current.fail(self.died(self.ending))
            life.interrupt(self.current)
        elif self.state == "stopping":
            life.cancel()
        self.mailbox.wake()

    def kill(self) -> None:
        """Ends the actor now and for good; a second kill, which also comes by itself after a while, cuts hooks short.
        """
        if self.state == "dead":
            return
        if self.ending is None or self.ending.kind != "killed":
            self.ending = Exit("killed")
            self.final, self.passivating = True, False
            self.mailbox.capacity = 0
        if self.life is None:
            self.die(self.ending)
            return
        self._flush(self.ending)
        self.life.cancel()
        if self.alarm is None:
            self.alarm = Alarm(self.system.clock)
        self.alarm.set(self.spec.shutdown_s, self.kill)

    def passivate(self) -> None:
        """Ends the incarnation gracefully, and lets the actor lie dormant until the next message."""
        self.passivating = True
        self.end(Exit("stopped"), self.spec.shutdown_s, final=False)

    def _sleep(self) -> None:
        """The actor lies dormant; mail that came in meanwhile wakes it again."""
        self.passivating = False
        self.ending = None
        self.state = "dormant"
        self.mailbox.capacity = 0
        if self.alarm is not None:
            self.alarm.cancel()
        if self.mailbox.queue and self.on_mail is not None:
            self.on_mail()

    async def suspend(self) -> None:
        """Ends the incarnation, so that it can be restarted along with a sibling; mail waits for the next one."""
        if self.life is None or self.ending is not None:
            return
        suspended = self.suspended = self.system.new_future()
        self.life.cancel()
        await suspended

    def closing(self) -> None:
        """An incarnation ends; from now on nothing it holds is worked on."""
        self.current = None
        if self.ending is not None:
            self.state = "stopping"
            if self.final:
                self._flush(self.ending)
        else:
            self.state = "restarting"

    async def stop_children(self) -> None:
        """Stops the children one after the other, last started first."""
        if self.supervision is not None:
            await self.supervision.stop_all()

    def kill_children(self) -> None:
        """Kills the children, all at once."""
        if self.supervision is not None:
            for child in list(self.supervision.children.values()):
                child.kill()

    def life_ended(self, exit: Exit) -> None:
        """The incarnation is over. A requested end is final; otherwise the parent decides."""
        self.life = None
        if self.started is not None:  # the first start failed: nothing to restart
            started, self.started = self.started, None
            self.die(exit)
            error = StartFailed(f"{self.path}: {exit} in started")
            error.__cause__ = exit.cause
            started.set_exception(error)
        elif self.passivating and not self.final and exit.kind == "stopped":
            self._sleep()
        elif self.ending is not None and (self.final or self.restart_type != "permanent"):
            self.die(exit if exit.kind == "crashed" else self.ending)
        elif self.suspended is None:
            self.ending = None
            self.state = "restarting"
            if self.alarm is not None:
                self.alarm.cancel()
            self.parent.child_ended(self, exit)
        if self.suspended is not None:
            suspended, self.suspended = self.suspended, None
            suspended.set_result(None)

    def die(self, exit: Exit) -> None:
        """The end: what waits is answered, and everyone who wanted to know is told once."""
        if self.state == "dead":
            return
        self.exit = exit
        self.state = "dead"
        self.mailbox.capacity = 0
        if self.alarm is not None:
            self.alarm.cancel()
        self._flush(exit)
        self.parent.child_died(self)
        for watcher in self.watchers or ():
            try:
                watcher(self.ref, exit)
            except Exception:  # one that fails must not keep the others from knowing
                log.exception("%s: telling a watcher of the death failed", self.path)
        for joiner in self.joiners or ():
            if not joiner.done():
                joiner.set_result(exit)
        self.watchers = self.joiners = None
        self.system.emit("died", self.ref, exit)

    def _flush(self, exit: Exit) -> None:
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

    # --- who wants to know

    async def joined(self) -> Exit:
        """Waits for the end."""
        if self.exit is not None:
            return self.exit
        joiner: Future[Exit] = self.system.new_future()
        if self.joiners is None:
            self.joiners = []
        self.joiners.append(joiner)
        return await joiner

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher` once, when the actor is dead for good or at once if it is; returns what takes it back."""
        if self.exit is not None:
            watcher(self.ref, self.exit)
            return lambda: None
        if self.watchers is None:
            self.watchers = []
        watchers = self.watchers
        watchers.append(watcher)
        return lambda: watchers.remove(watcher) if watcher in watchers else None

    def __repr__(self) -> str:
        return f"<Cell {self.path} {self.kind} {self.state} {self.mailbox!r}>"
