"""Who restarts whom.

Every actor that has children supervises them, by the `SupervisorSpec` of its class; a `Supervisor` is an actor that
is nothing but such a spec. The rules are Erlang/OTP's: by restart type and strategy children are restarted, left to
right, after their siblings were stopped, right to left; too many restarts within the period fail upward. The work is
done in a short task of its own, so that neither a busy handler nor a full mailbox can hold it up.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from aios_actors.actors.cell import Cell
from aios_actors.actors.envelope import Envelope, scope_var
from aios_actors.actors.errors import IntensityExceeded, UnknownActor
from aios_actors.actors.mailbox import Task, TimerHandle
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.specs import ChildSpec, Exit, SupervisorSpec

if TYPE_CHECKING:
    from aios_actors.actors.system import ActorSystem


class Supervision:
    """The children of one actor, or of the system itself (`owner` None)."""

    def __init__(self, system: ActorSystem, owner: Cell | None, spec: SupervisorSpec) -> None:
        self.system = system
        self.owner = owner
        self.spec = spec
        self.path: str = "" if owner is None else owner.path
        self.children: dict[str, Cell] = {}
        self._ended: deque[tuple[Cell, Exit]] = deque()
        # When restarts were. A supervisor's children count together; those of the root have nothing in common but it.
        self._restarts: dict[Cell | None, deque[float]] = {}
        self._delayed: dict[Cell, TimerHandle] = {}
        self._task: Task[None] | None = None

    async def spawn(self, spec: ChildSpec) -> ActorRef:
        """Starts a child and waits until its `started` has ended.

        Raises:
            StartFailed: its `__init__` or `started` raised.
            SystemClosed: the system is shutting down.
            UnknownActor: the name is taken or holds a slash.
        """
        self.system.check_open()
        cell = self.add(spec)
        cell.started = self.system.new_future()
        scope = scope_var.get()
        if scope is None or scope.waits is None:
            await self._started(cell)
            return cell.ref
        waiting = Envelope(None, None, scope.ref, cell)  # an edge for the search for ask cycles
        scope.waits.append(waiting)
        try:
            await self._started(cell)
        finally:
            scope.waits.remove(waiting)
        return cell.ref

    def add(self, spec: ChildSpec, dormant: bool = False) -> Cell:
        """Makes a child, whose incarnation begins at once or, if it is to be `dormant`, with its first message."""
        name = spec.name or self.system.new_name(spec.factory)
        if name in self.children or "/" in name:
            raise UnknownActor(f"{self.path}/{name}: the name {'holds a slash' if '/' in name else 'is taken'}")
        cell = Cell(self.system, self, spec, name, dormant)
        self.children[name] = cell
        self.system.cells[cell.path] = cell
        return cell

    async def _started(self, cell: Cell) -> None:
        started = cell.started
        assert started is not None
        try:
            await started
        except BaseException:
            cell.started = None  # the spawner gave up, or has its error
            cell.kill()
            raise

    def child_ended(self, cell: Cell, exit: Exit) -> None:
        """An incarnation of a child ended without anybody having asked for it."""
        self._ended.append((cell, exit))
        if self._task is None:
            self._task = self.system.loop.task(self._supervise(), f"{self.path}/supervision")

    def child_died(self, cell: Cell) -> None:
        """A child is dead for good."""
        self.children.pop(cell.name, None)
        self.system.cells.pop(cell.path, None)
        self._restarts.pop(cell, None)
        handle = self._delayed.pop(cell, None)
        if handle is not None:
            handle.cancel()

    async def _supervise(self) -> None:
        scope_var.set(None)
        try:
            while self._ended:
                await self._handle(*self._ended.popleft())
        finally:
            self._task = None

    async def _handle(self, cell: Cell, exit: Exit) -> None:
        self.system.crashed(cell, exit)
        if cell.state != "restarting" or cell.ending is not None:
            return
        if cell.restart_type == "temporary" or (cell.restart_type == "transient" and exit.kind == "stopped"):
            cell.die(exit)
            return
        recent = self._count(cell)
        if recent > self.spec.intensity:
            self._fail_upward(cell, exit)
            return
        group = await self._stop_siblings(cell)
        delay = self.spec.backoff.delay(recent, self.system.random())
        for member in group:
            self._restart(member, delay)

    def _count(self, cell: Cell) -> int:
        """Restarts within the period, this one included."""
        now = self.system.now()
        times = self._restarts.setdefault(cell if self.owner is None else None, deque())
        while times and times[0] <= now - self.spec.period_s:
            times.popleft()
        times.append(now)
        return len(times)

    def _fail_upward(self, cell: Cell, exit: Exit) -> None:
        spec = self.spec
        error = IntensityExceeded(f"{cell.path}: more than {spec.intensity} restarts in {spec.period_s} s; last {exit}")
        error.__cause__ = exit.cause
        cell.die(Exit("crashed", error))
        if self.owner is not None and self.owner.life is not None:
            self.owner.life.fail(error)

    async def _stop_siblings(self, failed: Cell) -> list[Cell]:
        """Takes down, last first, those that the strategy restarts along; returns all to restart, in order of start."""
        cells = list(self.children.values())
        if self.spec.strategy == "one_for_one":
            return [failed]
        if self.spec.strategy == "rest_for_one":
            cells = cells[cells.index(failed) :]
        for cell in reversed(cells):
            if cell is not failed:
                await cell.suspend()
        group = [cell for cell in cells if cell.state == "restarting"]
        self._ended = deque(entry for entry in self._ended if entry[0] not in group)
        return group

    def _restart(self, cell: Cell, delay: float) -> None:
        if delay == 0.0:
            cell.restart()
            return

        def due() -> None:
            self._delayed.pop(cell, None)
            cell.restart()

        self._delayed[cell] = self.system.clock.call_at(self.system.now() + delay, due)

    async def stop_all(self, drain_s: float | None = None) -> None:
        """Stops the children gracefully, last started first, each before the next."""
        for cell in reversed(list(self.children.values())):
            cell.stop(drain_s)
            await cell.joined()
