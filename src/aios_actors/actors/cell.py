"""The runtime's side of one actor: what stays while incarnations come and go.

A cell has the actor's name, spec, mailbox, ref, children and watchers, and moves through the states starting, running,
draining (stop asked, mail is worked off), stopping (hooks and children end), restarting, dormant (passivated) and
dead. Whatever happens, each message that entered is handled, dropped or put in the dead letters, and each ask ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aios_actors.actors.deadlines import Alarm
from aios_actors.actors.envelope import Envelope
from aios_actors.actors.errors import StartFailed
from aios_actors.actors.handlers import Table
from aios_actors.actors.life import Life
from aios_actors.actors.mailbox import Future, Mailbox
from aios_actors.actors.receiver import Receiver, State
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.specs import ChildSpec, Exit, MailboxSpec, Restart

if TYPE_CHECKING:
    from aios_actors.actors.actor import Actor
    from aios_actors.actors.supervision import Supervision
    from aios_actors.actors.system import ActorSystem

log = logging.getLogger("aios_actors.actors")

Watcher = Callable[[ActorRef, Exit], None]


class Cell(Receiver):
    """One actor's permanent part. Only the runtime touches it."""

    __slots__ = (
        "actor_class", "alarm", "final", "joiners", "life", "parent", "restart_type", "restarts", "since", "spec",
        "started", "supervision", "suspended", "watchers",
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

    def abandoned(self, envelope: Envelope) -> None:
        """See Holder. A waiting message is skipped when its turn comes; a running handler is cancelled."""
        if envelope is self.current and self.life is not None:
            self.life.interrupt(envelope)

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
        self.flush(self.ending)
        for reply in list(life.deferred or ()):
            reply.fail(self.died(self.ending))
        if self.current is not None:
            self.current.fail(self.died(self.ending))
            life.interrupt(self.current)
        elif self.state == "stopping":
            life.cancel()
        self.mailbox.wake()

    def kill(self) -> None:
        """Ends the actor now and for good; a second kill, which comes by itself after a while, cuts hooks short."""
        if self.state == "dead":
            return
        if self.ending is None or self.ending.kind != "killed":
            self.ending = Exit("killed")
            self.final, self.passivating = True, False
            self.mailbox.capacity = 0
        if self.life is None:
            self.die(self.ending)
            return
        self.flush(self.ending)
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
        if not self.life.ended:
            self.life.cancel()
        await suspended

    def closing(self) -> None:
        """An incarnation ends; from now on nothing it holds is worked on."""
        self.current = None
        if self.ending is not None:
            self.state = "stopping"
            if self.final:
                self.flush(self.ending)
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
        self.flush(exit)
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
