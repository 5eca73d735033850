"""One timer for many deadlines.

A request with a deadline joins the set of the sixteenth of a second in which the deadline lies, and leaves it when it
has ended; nearly all leave. One clock call per set looks at it when its slot begins, and gives those that are still
there a call of their own at their exact time. So a deadline is exact, and an ask that is answered in time costs two
set operations.

Measured: 0.15 us for each ask, against 1.1 us for a `loop.call_at` handle that is cancelled.
"""

from collections.abc import Callable

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.mailbox import Clock, TimerHandle

SLOT_S = 1 / 16


class Deadlines:
    """The requests under way, by deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By number of the slot since the clock's start. `ActorRef.ask` looks here itself, which saves a call.
        self.slots: dict[float, set[Envelope]] = {}
        self._handles: dict[float, TimerHandle] = {}
        self._exact: set[TimerHandle] = set()

    def open(self, slot: float) -> set[Envelope]:
        """The requests whose deadline lies in `slot`; they expire then, unless they are discarded from the set."""
        members = self.slots[slot] = set()
        self._handles[slot] = self._clock.call_at(slot * SLOT_S, lambda: self._begin(slot))
        return members

    def _begin(self, slot: float) -> None:
        members = self.slots.pop(slot)
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
        self.slots.clear()
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
