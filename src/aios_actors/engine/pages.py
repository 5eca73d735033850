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

Tokens = npt.NDArray[np.int32]


class Page(Struct, frozen=True):
    """The KV state of one conversation; `tokens` is what it was computed from."""

    digest: str
    tokens: Tokens
    state: bytes
    checksum: int

    @property
    def size(self) -> int:
        """Bytes that count against the budget."""
        return len(self.state) + self.tokens.nbytes

    def intact(self, digest: str) -> bool:
        """Whether the page is undamaged and belongs to the model of `digest`."""
        return self.digest == digest and self.checksum == _checksum(digest, self.tokens, self.state)


class PageStore:
    """Pages by conversation, the least recently used first."""

    def __init__(self, digest: str, budget: int) -> None:
        self._digest = digest
        self._budget = budget
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self.bytes = 0
        self.paged_out = 0
        self.paged_in = 0

    def __len__(self) -> int:
        return len(self._pages)

    def put(self, conversation: str, tokens: Tokens, state: bytes) -> None:
        """Keep a page; older ones make room. One larger than the whole budget is not kept."""
        self.discard(conversation)
        page = Page(self._digest, tokens, state, _checksum(self._digest, tokens, state))
        if page.size > self._budget:
            return
        while self.bytes + page.size > self._budget:
            self.discard(next(iter(self._pages)))
        self._pages[conversation] = page
        self.bytes += page.size
        self.paged_out += 1

    def find(self, tokens: Tokens, at_least: int) -> str | None:
        """The conversation whose page shares the longest prefix with `tokens`, if that is `at_least` so long."""
        best, best_length = None, at_least - 1
        for conversation, page in self._pages.items():
            length = min(len(page.tokens), len(tokens))
            if length <= best_length or not np.array_equal(page.tokens[: best_length + 1], tokens[: best_length + 1]):
                continue
            different = np.flatnonzero(page.tokens[:length] != tokens[:length])
            best, best_length = conversation, int(different[0]) if len(different) else length
        return best

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


def _checksum(digest: str, tokens: Tokens, state: bytes) -> int:
    return zlib.crc32(state, zlib.crc32(np.ascontiguousarray(tokens).tobytes(), zlib.crc32(digest.encode())))
