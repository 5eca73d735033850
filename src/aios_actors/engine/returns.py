"""When conversations whose KV has left the cache are expected to go on, the next one first.

Contract: a conversation has one time at most; `pop` gives out each time once.
"""

from __future__ import annotations

import heapq


class Returns:
    """Conversations and the times, on one clock, at which they go on."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []  # may hold outdated entries: `_due` tells

    def __len__(self) -> int:
        return len(self._due)

    def add(self, conversation: str, due: float) -> None:
        """A conversation goes on at `due`; what was said of it before is void."""
        self._due[conversation] = due
        heapq.heappush(self._order, (due, conversation))

    def drop(self, conversation: str) -> None:
        """A conversation went on, or never will; an unknown one is ignored."""
        self._due.pop(conversation, None)

    def next(self) -> float | None:
        """The first time; None if there is none."""
        while self._order and self._due.get(self._order[0][1]) != self._order[0][0]:
            heapq.heappop(self._order)
        return self._order[0][0] if self._order else None

    def pop(self, until: float) -> tuple[str, float] | None:
        """The first conversation that goes on by `until`, with its time; None if there is none."""
        due = self.next()
        if due is None or due > until:
            return None
        _, conversation = heapq.heappop(self._order)
        del self._due[conversation]
        return conversation, due
