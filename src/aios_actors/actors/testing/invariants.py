"""What must hold in every run of an actor system, checked while it runs and at its end.

- each ask, send, spawn and join ends, exactly once;
- messages of one sender to one receiver are handled in the order of sending (retried and stashed ones are left out);
- no mailbox holds more than its capacity and its stash;
- enqueued = processed + skipped + dropped + lost for each dead actor;
- children are not restarted beyond their parent's intensity;
- nothing is left after shutdown: no actor, no task, no clock call.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.mailbox import Mailbox
from aios_actors.actors.specs import MailboxSpec
from aios_actors.actors.system import ActorSystem
from aios_actors.actors.trace import TraceEvent


class BrokenInvariant(AssertionError):
    """Raised when a run broke one of the runtime's promises."""


class _CheckedMailbox(Mailbox):
    """Numbers what comes in, and checks the bound."""

    __slots__ = ("numbers",)

    def __init__(self, spec: MailboxSpec, future: Callable[[], Any]) -> None:
        super().__init__(spec, future)
        self.numbers: dict[Envelope, int] = {}

    def _number(self) -> None:
        self.numbers[self.queue[-1]] = self.enqueued
        limit = self.spec.capacity + self.spec.stash
        if len(self.queue) > limit:
            raise BrokenInvariant(f"{self!r} holds more than {limit}")

    def offer(self, envelope: Envelope) -> bool:
        accepted = super().offer(envelope)
        if accepted:
            self._number()
        return accepted

    def force(self, envelope: Envelope) -> None:
        super().force(envelope)
        self._number()

    def refill(self) -> None:
        before = len(self.queue)
        super().refill()
        entered = list(self.queue)[before:]
        for place, envelope in enumerate(entered):
            self.numbers[envelope] = self.enqueued - len(entered) + 1 + place


class Invariants:
    """Watches one system. Pass `trace` as its tracer, then `attach`, and after shutdown `check_end`."""

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[Any]] = []
        self._last: dict[tuple[object, object], int] = {}
        self._failures: dict[object, deque[float]] = defaultdict(deque)
        self.broken: list[str] = []

    def attach(self, system: ActorSystem) -> None:
        """Begins to watch; before the first spawn."""
        make = system.new_future

        def recorded() -> asyncio.Future[Any]:
            future = make()
            self._futures.append(future)
            return future

        system.new_future = recorded
        system.new_mailbox = lambda spec, future: _CheckedMailbox(spec, make)

    def trace(self, event: TraceEvent) -> None:
        """The tracer."""
        if event.kind == "handling":
            self._check_order(event)
        elif event.kind == "died":
            self._check_account(event)
        elif event.kind == "ended":
            self._check_intensity(event)

    def _check_order(self, event: TraceEvent) -> None:
        cell = event.actor.cell
        envelope = cell.current
        number = cell.mailbox.numbers.pop(envelope, None)
        if number is None:  # handled before, and stashed or retried
            return
        pair = (envelope.sender, event.actor)
        if envelope.sender is not None and number < self._last.get(pair, -1):
            self.broken.append(f"{event.actor.path} handled {envelope.message!r} out of order")
        self._last[pair] = number

    def _check_account(self, event: TraceEvent) -> None:
        cell = event.actor.cell
        mailbox = cell.mailbox
        ended = cell.processed + cell.skipped + mailbox.dropped + cell.lost
        if mailbox.enqueued != ended or mailbox.queue:
            self.broken.append(
                f"{cell.path}: enqueued {mailbox.enqueued} is not processed {cell.processed} + skipped {cell.skipped}"
                f" + dropped {mailbox.dropped} + lost {cell.lost}"
            )

    def _check_intensity(self, event: TraceEvent) -> None:
        """After one failure more than the intensity, the parent has no business restarting anything."""
        cell = event.actor.cell
        parent, spec = cell.parent, cell.parent.spec
        if cell.restart_type == "temporary" or cell.state != "restarting":
            return
        times = self._failures[cell if parent.owner is None else parent]
        times.append(event.at)
        while times and times[0] <= event.at - spec.period_s:
            times.popleft()
        if len(times) > spec.intensity + 1:
            self.broken.append(f"{cell.path}: {len(times)} failures in {spec.period_s} s, and still restarted")

    def check_end(self, system: ActorSystem, loop: asyncio.AbstractEventLoop) -> None:
        """Checks what must hold after shutdown.

        Raises:
            BrokenInvariant: with all that was broken in the run.
        """
        self.broken += [f"never ended: {future!r}" for future in self._futures if not future.done()]
        self.broken += [f"still there: {cell!r}" for cell in system.cells.values()]
        current = asyncio.current_task(loop)
        self.broken += [f"task left: {task!r}" for task in asyncio.all_tasks(loop) if task is not current]
        if self.broken:
            raise BrokenInvariant("\n".join(self.broken))
