"""A clock that stands still until it is told to go on.

Give it to a system, `ActorSystem("test", clock=clock)`, and deadlines, timers, backoff and drain times happen in
`advance`, in their order, and nowhere else.
"""

import heapq
from collections.abc import Callable
from itertools import count

from aios_actors.actors.testing.probe import settle


class _Handle:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A Clock whose time is set by hand; `start` is in seconds."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = count()
        self._calls: list[tuple[float, int, _Handle]] = []

    def now(self) -> float:
        """The time that was last advanced to."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> _Handle:
        """See Clock; a call for the past happens with the next `advance`, also one by 0."""
        handle = _Handle(callback)
        heapq.heappush(self._calls, (when, next(self._order), handle))
        return handle

    async def advance(self, seconds: float) -> None:
        """Moves time forward, stopping at each call that falls due; actors settle after each and at the end."""
        end = self._now + seconds
        await settle()
        while self._calls and self._calls[0][0] <= end:
            when, _, handle = heapq.heappop(self._calls)
            self._now = max(self._now, when)
            if handle.callback is not None:
                handle.callback()
                await settle()
        self._now = end
        await settle()

    @property
    def pending(self) -> int:
        """Calls that are set and not cancelled."""
        return sum(handle.callback is not None for _, _, handle in self._calls)
