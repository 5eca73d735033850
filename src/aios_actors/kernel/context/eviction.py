"""Which conversation leaves memory first: by K-LRU or by cost.

Contract: `used` notes a reference to a conversation that is in memory, `gone` that it is not any more, `victim` names
the one to page out, None if there is none. O(log n) each, amortised. Pure bookkeeping.
"""

from heapq import heapify, heappop, heappush
from typing import Literal, Protocol

from aios_actors.kernel.memory.cache import LruK

Key = tuple[str, str]
Choice = Literal["k-lru", "cost"]

READ_S, READ_S_PER_BYTE = 150e-6, 1e-9
"""Estimate of what reading a conversation back takes: one query, and its bytes."""


class Eviction(Protocol):
    """Names victims."""

    def used(self, key: Key, size: int) -> None:
        """A conversation of `size` bytes is in memory and was used just now."""

    def gone(self, key: Key) -> None:
        """A conversation ended."""

    def victim(self) -> Key | None:
        """Takes out the conversation that is to leave memory; what is known of its use may be kept."""


def make_eviction(choice: Choice) -> Eviction:
    """The one that the config names."""
    return KLru() if choice == "k-lru" else ByCost()


class KLru:
    """LRU-K with K = 2 (see `memory.cache`): what was used once leaves before what was used again and again."""

    def __init__(self) -> None:
        self._cache: LruK[Key, None] = LruK(None, history=65_536)

    def used(self, key: Key, size: int) -> None:
        self._cache.put(key, None)

    def gone(self, key: Key) -> None:
        self._cache.discard(key)

    def victim(self) -> Key | None:
        return self._cache.evict()


class ByCost:
    """GreedyDual-Size-Frequency: least uses times cost of reading back, for each byte freed, leaves first.

    An inflation value, the credit of the last victim, ages those that are not used any more.

    Source: L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs
    HPL-98-69, 1998.
    """

    def __init__(self) -> None:
        self._inflation = 0.0
        self._uses: dict[Key, int] = {}
        self._credit: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []  # one item a use; all but a key's newest are stale

    def used(self, key: Key, size: int) -> None:
        uses = self._uses[key] = self._uses.get(key, 0) + 1
        cost = READ_S + size * READ_S_PER_BYTE
        self._credit[key] = self._inflation + uses * cost / max(size, 1)
        heappush(self._heap, (self._credit[key], key))
        if len(self._heap) > 4 * len(self._credit) + 64:
            self._heap = [(credit, key) for key, credit in self._credit.items()]
            heapify(self._heap)

    def gone(self, key: Key) -> None:
        self._credit.pop(key, None)
        self._uses.pop(key, None)

    def victim(self) -> Key | None:
        while self._heap:
            credit, key = heappop(self._heap)
            if self._credit.get(key) == credit:
                self.gone(key)
                self._inflation = credit
                return key
        return None
