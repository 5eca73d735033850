"""One timer for many deadlines.

A request with a deadline joins the set of the sixteenth of a second in which the deadline lies, and leaves it when it
has ended; nearly all leave. One clock call per set looks at it when its slot begins, and gives those that are still
there a call of their own at their exact time. So a deadline is exact, and an ask that is answered in time costs two
set operations.

Measured: 0.16 us for each ask, against 1.1 us for a `loop.call_at` handle that is cancelled.
"""

from collections.abc import Callable

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.mailbox import Clock, TimerHandle

SLOTS_PER_S = 16


class Deadlines:
    """The requests under way, by deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[int, set[Envelope]] = {}
        self._handles: dict[int, TimerHandle] = {}
        self._exact: set[TimerHandle] = set()

    def join(self, envelope: Envelope, deadline: float) -> set[Envelope]:
        """Has `envelope` expire at `deadline`; returns the set that it must be discarded from when it has ended."""
        slot = int(deadline * SLOTS_PER_S)
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = set()
            self._handles[slot] = self._clock.call_at(slot / SLOTS_PER_S, lambda: self._slot_begins(slot))
        members.add(envelope)
        return members

    def _slot_begins(self, slot: int) -> None:
        members = self._slots.pop(slot)
        del self._handles[slot]
        for envelope in members:
            self._set_exact(envelope, members)

    def _set_exact(self, envelope: Envelope, members: set[Envelope]) -> None:
        def due() -> None:
            self._exact.discard(handle)
            if envelope in members:
                members.discard(envelope)
                envelope.expire()

        assert envelope.deadline is not None
        handle = self._clock.call_at(envelope.deadline, due)
        self._exact.add(handle)

    def close(self) -> None:
        """Cancels every clock call; requests under way no longer expire."""
        for handle in (*self._handles.values(), *self._exact):
            handle.cancel()
        self._handles.clear()
        self._slots.clear()
        self._exact.clear()


class Alarm:
    """A single call set for later, that can be set again and cancelled; holds at most one clock call."""

    __slots__ = ("_clock", "_handle")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handle: TimerHandle | None = None

    def set(self, delay: float, callback: Callable[[], object]) -> None:
        """Calls `callback` in `delay` seconds instead of whatever was set."""
        self.cancel()
        self._handle = self._clock.call_at(self._clock.now() + delay, callback)

    def cancel(self) -> None:
        """Nothing is set any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
