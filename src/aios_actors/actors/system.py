"""The actor system: the root of the tree, and what all actors share.

It owns the clock, the deadlines, the names and the dead letters. Actors spawned on it are children of the root, which
restarts them one for one by their restart type; one that exceeds the intensity is left dead, the others go on.
Leaving the `async with` block shuts the system down: new work is refused, mail is drained for a while, actors stop in
reverse order of start, and no task or timer is left.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aios_actors.actors.actor import Actor
from aios_actors.actors.cell import Cell
from aios_actors.actors.dead_letters import DeadLetters
from aios_actors.actors.deadlines import Alarm, Deadlines
from aios_actors.actors.errors import SystemClosed, UnknownActor
from aios_actors.actors.handlers import Table
from aios_actors.actors.info import ProcessInfo, process_info
from aios_actors.actors.mailbox import Clock, Future, Loop, LoopClock, Mailbox
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.specs import ChildSpec, Exit, MailboxSpec, SupervisorSpec
from aios_actors.actors.supervision import Supervision
from aios_actors.actors.trace import TraceEvent, Tracer, traced_table

log = logging.getLogger("aios_actors.actors")


class ActorSystem:
    """A tree of actors on one event loop. Make it inside of a running loop, and use it as `async with
    ActorSystem(...)`.

    Args:
        name: for logs and `repr`.
        clock: the source of time for deadlines, timers and backoff; the loop's own by default.
        supervision: how the root treats the actors spawned on the system.
        tracer: called with a TraceEvent for each message and change of life; costs nothing when None.
        seed: of the jitter of restarts; None for a random one.
        drain_s: seconds for which leaving the `async with` block drains; 0 kills.
        dead_letters: how many of the last dead letters are kept.
    """

    def __init__(
        self,
        name: str = "system",
        *,
        clock: Clock | None = None,
        supervision: SupervisorSpec | None = None,
        tracer: Tracer | None = None,
        seed: int | None = None,
        drain_s: float = 5.0,
        dead_letters: int = 256,
    ) -> None:
        self.name = name
        self.loop = Loop()
        self.new_future: Callable[[], Future[Any]] = self.loop.future
        self.clock: Clock = LoopClock() if clock is None else clock
        self.now = self.clock.now
        self.deadlines = Deadlines(self.clock)
        self.dead_letters = DeadLetters(dead_letters)
        self.late_replies = 0
        self.closing = False
        self.new_mailbox: Callable[[MailboxSpec, Callable[[], Future[Any]]], Mailbox] = Mailbox
        self.cells: dict[str, Cell] = {}
        self.random = random.Random(seed).random
        self._tracer = tracer
        self._names: dict[str, ActorRef] = {}
        self._made_up = 0
        self.new_number = itertools.count(1).__next__
        self._drain_s = drain_s
        self._root = Supervision(self, None, supervision or SupervisorSpec())
        self._closed: Future[None] | None = None

    async def spawn(self, actor: type[Actor], *args: Any, name: str | None = None, **kwargs: Any) -> ActorRef:
        """Starts an actor of a class with its arguments, and waits until it has started. See `Supervision.spawn`."""
        return await self._root.spawn(ChildSpec(factory=actor, name=name, args=args, kwargs=kwargs))

    async def spawn_spec(self, spec: ChildSpec) -> ActorRef:
        """Starts an actor from its spec."""
        return await self._root.spawn(spec)

    def actor_of(self, name: str) -> ActorRef:
        """The living actor that is registered as `name`, or whose path it is (`kernel/scheduler`).

        Raises:
            UnknownActor: there is none.
        """
        ref = self._names.get(name)
        if ref is not None:
            return ref
        cell = self.cells.get("/" + name.lstrip("/"))
        if cell is None:
            raise UnknownActor(f"{self.name}: no living actor is called {name!r}; ps() lists those there are")
        return cell.ref

    def register(self, name: str, ref: ActorRef) -> None:
        """Gives a living actor a second name, until it dies. Raises UnknownActor if the name is taken."""
        if name in self._names or "/" + name.lstrip("/") in self.cells:
            raise UnknownActor(f"{self.name}: the name {name!r} is taken")
        self._names[name] = ref
        ref.cell.watch(lambda ref, exit: self._names.__delitem__(name))

    def ps(self) -> tuple[ProcessInfo, ...]:
        """What every actor does now, parents before their children."""
        return tuple(process_info(self.cells[path], self.now()) for path in sorted(self.cells))

    async def shutdown(self, drain_s: float | None = None) -> None:
        """Refuses new work, drains for at most `drain_s` seconds (the system's by default), answers what is left, and
        stops in reverse order.
        """
        if self._closed is not None:
            if not self._closed.done():
                await self._closed
            return
        self.closing = True
        self._closed = self.new_future()
        alarm = Alarm(self.clock)
        drain_s = self._drain_s if drain_s is None else drain_s
        if drain_s > 0:
            alarm.set(drain_s, self._kill_all)
        else:
            self._kill_all()
        try:
            await self._root.stop_all()
        finally:
            alarm.cancel()
            self.deadlines.close()
            self._closed.set_result(None)

    def _kill_all(self) -> None:
        for cell in list(self.cells.values()):
            cell.kill()

    async def __aenter__(self) -> ActorSystem:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    # --- for the runtime

    def check_open(self) -> None:
        """Raises SystemClosed if the system takes no new work."""
        if self.closing:
            raise SystemClosed(f"{self.name}: the actor system is shutting down and takes no new work")

    def new_name(self, factory: Callable[..., Any]) -> str:
        """A name for an actor that was given none."""
        self._made_up += 1
        return f"{getattr(factory, '__name__', 'actor')}-{self._made_up}"

    def add_dormant(self, spec: ChildSpec) -> Cell:
        """A child of the root that begins its life with its first message."""
        self.check_open()
        return self._root.add(spec, dormant=True)

    def crashed(self, cell: Cell, exit: Exit) -> None:
        """An incarnation ended by itself."""
        if exit.cause is not None:
            log.warning("%s %s", cell.path, exit, exc_info=exit.cause)
        self.emit("ended", cell.ref, exit)

    def traced(self, ref: ActorRef, table: Table) -> Table:
        """The dispatch table as it is, or with every handler wrapped for the tracer."""
        return table if self._tracer is None else traced_table(ref, table, self._tracer, self.now)

    def emit(self, kind: str, ref: ActorRef, detail: Any) -> None:
        """Tells the tracer, if there is one."""
        if self._tracer is not None:
            self._tracer(TraceEvent(kind=kind, actor=ref, at=self.now(), detail=detail))

    def __repr__(self) -> str:
        state = "closing" if self.closing else "open"
        return f"<ActorSystem {self.name} {state} actors={len(self.cells)} dead_letters={self.dead_letters.total}>"
