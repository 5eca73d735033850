"""A bounded cache that evicts by LRU-K.

Contract: the victim is the entry whose K-th most recent reference lies furthest back; entries with fewer than K
references count as infinitely far and go first, the least recently used of them before the others. References of an
evicted key are remembered for a while, so that it is not taken for new when it returns. `get` of a present key and
`put` are references.

Source: E. O'Neil, P. O'Neil, G. Weikum, "The LRU-K Page Replacement Algorithm For Database Disk Buffering", SIGMOD
1993. Time is a count of references, and the paper's correlated reference period is 0.
"""

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruK(Generic[K, V]):
    """Maps keys to at most `capacity` values. Operations take O(log capacity), amortised."""

    def __init__(self, capacity: int | None, k: int = 2, history: int | None = None) -> None:
        """Makes an empty cache.

        Args:
            capacity: most entries; 0 keeps none; None has no bound, for a user that calls `evict` by a measure of its
            own. k: references that count; 1 is plain LRU. history: evicted keys whose references are remembered; None
            is as many as `capacity`.
        """
        if (capacity or 0) < 0 or k < 1 or (history is not None and history < 0):
            raise ValueError(f"LruK: {capacity=} and {history=} must be at least 0, and {k=} at least 1")
        self._capacity = capacity
        self._k = k
        self._history = (capacity or 0) if history is None else history
        self._values: dict[K, V] = {}
        self._references: dict[K, tuple[int, ...]] = {}  # newest last, at most k
        self._evicted: OrderedDict[K, tuple[int, ...]] = OrderedDict()
        self._heap: list[tuple[int, int, K]] = []  # one item a reference; all but an entry's newest are stale
        self._now = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return f"<LruK k={self._k} {len(self)}/{self._capacity}>"

    def get(self, key: K) -> V | None:
        """The value of `key`, which counts as a reference; None if it is not here."""
        if key not in self._values:
            return None
        self._refer(key, self._references[key])
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Makes `value` the value of `key`; if that is new and the cache full, the victim makes room."""
        if self._capacity == 0:
            return
        earlier = self._references.get(key)
        if earlier is None:
            earlier = self._evicted.pop(key, ())
            if self._capacity is not None and len(self._values) >= self._capacity:
                self.evict()
        self._values[key] = value
        self._refer(key, earlier)

    def discard(self, key: K) -> None:
        """Forgets `key` and its references."""
        self._values.pop(key, None)
        self._references.pop(key, None)
        self._evicted.pop(key, None)

    def evict(self) -> K | None:
        """Removes the victim, whose references are remembered, and names it; None if the cache is empty."""
        while self._heap:
            kth, last, key = heappop(self._heap)
            references = self._references.get(key)
            if references is None or self._item(key, references)[:2] != (kth, last):
                continue
            del self._values[key], self._references[key]
            self._evicted[key] = references
            if len(self._evicted) > self._history:
                self._evicted.popitem(last=False)
            return key
        return None

    def _refer(self, key: K, earlier: tuple[int, ...]) -> None:
        self._now += 1
        references = (*earlier, self._now)[-self._k :]
        self._references[key] = references
        heappush(self._heap, self._item(key, references))
        if len(self._heap) > 4 * len(self._references) + 64:
            self._heap = [self._item(key, references) for key, references in self._references.items()]
            heapify(self._heap)

    def _item(self, key: K, references: tuple[int, ...]) -> tuple[int, int, K]:
        kth = references[0] if len(references) == self._k else 0
        return kth, references[-1], key
