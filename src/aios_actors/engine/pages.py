"""KV pages of parked conversations in host memory.

Contract: `PageStore` holds serialised sequence states within a budget of bytes; beyond it the least recently used page
goes. A page is bound to its tokens and to the model's digest and has a checksum: a damaged or foreign page is dropped,
never loaded. Losing a page costs a recomputation and nothing else.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from aios_actors.engine.radix import RadixTree

Tokens = npt.NDArray[np.int32]


class Page(Struct, frozen=True):
    """The KV state of one conversation; `tokens` is what it was computed from."""

    digest: str
    tokens: Tokens
    state: bytes
    checksum: int
    adapters: str = ""

    @property
    def size(self) -> int:
        """Bytes that count against the budget."""
        return len(self.state) + self.tokens.nbytes

    def intact(self, digest: str) -> bool:
        """Whether the page is undamaged and belongs to the model of `digest`."""
        return self.digest == digest and self.checksum == _checksum(digest, self.adapters, self.tokens, self.state)


class PageStore:
    """Pages by conversation, the least recently used first."""

    def __init__(self, digest: str, budget: int) -> None:
        self._digest = digest
        self._budget = budget
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._tree: RadixTree[str] = RadixTree()
        self.bytes = 0
        self.paged_out = 0
        self.paged_in = 0

    def __len__(self) -> int:
        return len(self._pages)

    def put(self, conversation: str, tokens: Tokens, state: bytes, adapters: str = "") -> None:
        """Keep a page; older ones make room. One larger than the whole budget is not kept."""
        self.discard(conversation)
        page = Page(self._digest, tokens, state, _checksum(self._digest, adapters, tokens, state), adapters)
        if page.size > self._budget:
            return
        while self.bytes + page.size > self._budget:
            self.discard(next(iter(self._pages)))
        self._pages[conversation] = page
        self._tree.insert(conversation, tokens, adapters)
        self.bytes += page.size
        self.paged_out += 1

    def find(self, tokens: Tokens, adapters: str = "", *, at_least: int) -> str | None:
        """The conversation whose page shares the longest prefix with `tokens`, if that is `at_least` so long."""
        match = self._tree.match(tokens, adapters)
        return next(match.holders(), None) if match.length >= at_least else None

    def take(self, conversation: str, *, keep: bool) -> Page | None:
        """The page, if it is there and intact; it stays only with `keep`."""
        page = self._pages.get(conversation)
        if page is None or not page.intact(self._digest):
            self.discard(conversation)
            return None
        self._pages.move_to_end(conversation)
        if not keep:
            self.discard(conversation)
        self.paged_in += 1
        return page

    def discard(self, conversation: str) -> None:
        """Drop a page, if there is one."""
        page = self._pages.pop(conversation, None)
        if page is not None:
            self.bytes -= page.size
            self._tree.remove(conversation)


def _checksum(digest: str, adapters: str, tokens: Tokens, state: bytes) -> int:
    bound = zlib.crc32(np.ascontiguousarray(tokens).tobytes(), zlib.crc32(f"{digest}/{adapters}".encode()))
    return zlib.crc32(state, bound)
