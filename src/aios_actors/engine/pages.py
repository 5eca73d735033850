"""KV pages of parked conversations: in host memory, then on disk, then nowhere but in their tokens.

Contract: `PageStore` keeps sequence states within a budget of bytes for each tier. A page that begins like another one
is kept as the tail beyond it, and lives no longer than what it is based on. Beyond the host's budget the page that was
used least recently goes to disk, if the cost model says that fetching it will be faster than computing it again, else
it is dropped; beyond the disk's budget the least recently used one there is dropped. A page is bound to its model, its
adapters and its tokens and has a checksum: one that is damaged or foreign is dropped, never loaded. Losing a page costs
a recomputation and nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aios_actors.engine.cost import CostModel
from aios_actors.engine.disk import Extent, SwapFile, checksum
from aios_actors.engine.radix import RadixTree
from aios_actors.engine.state import Indivisible, cut, join, positions

Tokens = npt.NDArray[np.int32]
# Sharing, saving or waiting for a prefix pays from about here on: computing 16 tokens costs less than a step.
WORTHWHILE = 16
# Beyond so many tails on tails a page is based on the first of the chain, so that loading stays a matter of few parts.
_LONGEST_CHAIN = 16


@dataclass(eq=False, slots=True)
class Page:
    """The KV of `tokens[first:]`; what is before that is in `base`. In host memory (`state`) or on disk (`extent`)."""

    tokens: Tokens
    first: int
    base: Page | None
    divisible: bool
    adapters: str
    size: int
    binding: bytes
    checksum: int
    state: memoryview | None
    extent: Extent | None = None
    conversations: set[str] = field(default_factory=set)
    tails: set[Page] = field(default_factory=set)

    def chain(self) -> Iterator[Page]:
        """This page and what it is based on."""
        page: Page | None = self
        while page is not None:
            yield page
            page = page.base


@dataclass(frozen=True, slots=True)
class Hit:
    """A page whose first `length` tokens are those of a prompt."""

    page: Page
    length: int


class PageStore:
    """Pages by conversation and by tokens."""

    def __init__(
        self,
        digest: str,
        budget: int,
        disk: SwapFile | None = None,
        cost: CostModel | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._digest = digest
        self._budget = budget
        self._disk = disk or SwapFile("", 0)
        self._cost = cost or CostModel()
        self._clock = clock
        self._tree: RadixTree[Page] = RadixTree()
        self._by_conversation: dict[str, Page] = {}
        self._in_memory: OrderedDict[Page, None] = OrderedDict()  # least recently used first
        self._on_disk: OrderedDict[Page, None] = OrderedDict()
        self._bytes_per_token = 0.0
        self.bytes = 0
        self.paged_out = 0
        self.paged_in = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._tree)

    @property
    def disk_pages(self) -> int:
        """Pages on disk."""
        return len(self._on_disk)

    @property
    def disk_bytes(self) -> int:
        """Bytes in use on disk."""
        return self._disk.used

    def of(self, conversation: str) -> Page | None:
        """The conversation's page."""
        return self._by_conversation.get(conversation)

    def claim(self, conversation: str, tokens: Tokens, adapters: str = "") -> int:
        """How many of a conversation's first tokens pages hold already; if it is all, they are now its page."""
        base, shared = self._base(tokens, adapters)
        if base is not None and shared == len(tokens):
            self._name(conversation, base)
            self._touch(base)
        return shared

    def worth_saving(self, first: int, end: int) -> bool:
        """Whether paging tokens `first` to `end` out, and in some day, will be faster than computing them again."""
        size = int((end - first) * self._bytes_per_token)
        return end - first >= WORTHWHILE and self._cost.worth_moving(first, end, ("save", size), ("restore", size))

    def put(self, conversation: str, tokens: Tokens, state: memoryview, first: int = 0, adapters: str = "") -> None:
        """Keep the state of a conversation's `tokens` from `first` on: 0, or what `claim` said. Others make room."""
        base, shared = self._base(tokens, adapters)
        if shared == len(tokens):
            self.claim(conversation, tokens, adapters)
            return
        divisible = True
        try:
            if first < shared:
                state = cut(state, shared - first)
            divisible = positions(state) == range(shared, len(tokens))
        except Indivisible:
            divisible = False
        if not divisible:
            if first:
                return  # a tail of nothing that is known
            base, shared = None, 0
        binding = hashlib.blake2b(f"{self._digest}/{adapters}/{shared}/".encode() + tokens.tobytes(), digest_size=16)
        page = Page(tokens, shared, base, divisible, adapters, len(state), binding.digest(), checksum(state), state)
        if base is not None:
            base.tails.add(page)  # so that making room does not take it
            self._touch(base)
        if self._make_room(page):
            self._tree.insert(page, tokens, adapters)
            self._in_memory[page] = None
            self.bytes += page.size
            self.paged_out += 1
            self._bytes_per_token = page.size / max(len(tokens) - shared, 1)
            self._touch(page)
            self._name(conversation, page)
        elif base is not None:
            base.tails.discard(page)
            self._drop_if_idle(base)

    def find(self, tokens: Tokens, adapters: str = "", *, resident: int = 0) -> Hit | None:
        """The longest prefix of `tokens` in a page, if fetching it beats computing what is not `resident`."""
        hit = self._longest(tokens, adapters)
        if hit is None or hit.length < resident + WORTHWHILE:
            return None
        parts = _parts(hit)
        total = sum(page.size * cells // (len(page.tokens) - page.first) for page, cells in parts)
        read = sum(page.size for page, _ in parts if page.extent is not None)
        return hit if self._cost.worth_moving(resident, hit.length, ("restore", total), ("read", read)) else None

    def load(self, hit: Hit, first: int = 0) -> memoryview | None:
        """The state of a hit's tokens, from `first` on if its page is divisible.

        Returns:
            None if a part of it is damaged or foreign, and the page is gone then; or if the page had to make room for
            others since it was found.
        """
        if hit.page not in self._tree:
            return None
        states: list[tuple[memoryview, int]] = []
        for page, cells in _parts(hit):
            if (before := first - page.first) >= cells:
                continue
            content = self._content(page)
            if content is None:
                self.refused += 1
                self._drop(page)
                return None
            states.append((cut(content, before), cells - before) if before > 0 else (content, cells))
        self._touch(hit.page)
        self.paged_in += 1
        return states[0][0] if len(states) == 1 and hit.length == len(hit.page.tokens) else join(states)

    def discard(self, conversation: str) -> None:
        """A conversation is over: its page goes, unless others are based on it."""
        page = self._by_conversation.pop(conversation, None)
        if page is not None:
            page.conversations.discard(conversation)
            self._drop_if_idle(page)

    def close(self) -> None:
        """Give the disk back."""
        self._disk.close()

    def _longest(self, tokens: Tokens, adapters: str) -> Hit | None:
        match = self._tree.match(tokens, adapters)
        for page in match.holders():
            if page.divisible:
                return Hit(page, match.length)
        return Hit(match.ending[-1], len(match.ending[-1].tokens)) if match.ending else None

    def _base(self, tokens: Tokens, adapters: str) -> tuple[Page | None, int]:
        """What a page of `tokens` would be based on, and where it would begin."""
        hit = self._longest(tokens, adapters)
        if hit is None or not hit.page.divisible:
            return None, 0
        page = hit.page
        while page.base is not None and page.first >= hit.length:
            page = page.base  # the prefix is all in its base
        chain = list(page.chain())
        if len(chain) > _LONGEST_CHAIN and hit.length < len(tokens):
            page = chain[-1]
        shared = min(hit.length, len(page.tokens))
        return (page, shared) if shared >= WORTHWHILE else (None, 0)

    def _content(self, page: Page) -> memoryview | None:
        """The page's own state, if it is sound."""
        if page.state is not None:
            return page.state if checksum(page.state) == page.checksum else None
        assert page.extent is not None
        began = self._clock()
        content = self._disk.read(page.extent, page.binding)
        self._cost.observe_transfer("read", page.size, self._clock() - began)
        return content

    def _name(self, conversation: str, page: Page) -> None:
        """Make `page` the conversation's; what was its page before goes if nothing else needs it."""
        before = self._by_conversation.get(conversation)
        if before is not page:
            self._by_conversation[conversation] = page
            page.conversations.add(conversation)
            if before is not None:
                before.conversations.discard(conversation)
                self._drop_if_idle(before)

    def _touch(self, page: Page) -> None:
        """A page was used, and what it is based on: a base is always more recent than its tails."""
        for each in page.chain():
            (self._in_memory if each.state is not None else self._on_disk).move_to_end(each)

    def _make_room(self, new: Page) -> bool:
        """Bring host memory down to where `new` fits, without what it is based on; False if that cannot be."""
        if new.size > self._budget:
            return False
        pinned = set(new.chain())
        while self.bytes + new.size > self._budget:
            victim = next((page for page in self._in_memory if page not in pinned), None)
            if victim is None:
                return False
            if not self._to_disk(victim, pinned):
                self._drop(victim)
        return True

    def _to_disk(self, page: Page, pinned: set[Page]) -> bool:
        """Move a page from host memory to disk, if that is worth it and there can be room."""
        size = page.size
        if page.state is None or not self._disk.could_fit(size):
            return False
        if not self._cost.worth_moving(
            page.first, len(page.tokens), ("write", size), ("read", size), ("restore", size)
        ):
            return False
        keep = pinned | set(page.chain())
        while not self._disk.fits(page.size):
            victim = next((other for other in self._on_disk if other not in keep), None)
            if victim is None:
                return False
            self._drop(victim)
        if page not in self._tree:
            return False  # what was dropped was the only use of it
        began = self._clock()
        page.extent = self._disk.write(page.state, page.binding)
        if page.extent is None:
            return False
        self._cost.observe_transfer("write", page.size, self._clock() - began)
        page.state = None
        del self._in_memory[page]
        self._on_disk[page] = None
        self.bytes -= page.size
        return True

    def _drop_if_idle(self, page: Page) -> None:
        if not page.conversations and not page.tails:
            self._drop(page)

    def _drop(self, page: Page) -> None:
        """Let go of a page and of all tails on it; its base too, if that served this page only."""
        for tail in tuple(page.tails):
            self._drop(tail)
        if page not in self._tree:
            return  # the last tail took it along
        self._tree.remove(page)
        for conversation in page.conversations:
            del self._by_conversation[conversation]
        if page.extent is not None:
            self._disk.free(page.extent)
            del self._on_disk[page]
        else:
            del self._in_memory[page]
            self.bytes -= page.size
        if page.base is not None:
            page.base.tails.discard(page)
            self._drop_if_idle(page.base)


def _parts(hit: Hit) -> list[tuple[Page, int]]:
    """The pages that a hit's tokens lie in, the first tokens first, each with how many of its cells belong to them."""
    parts: list[tuple[Page, int]] = []
    end = hit.length
    for page in hit.page.chain():
        if page.first < end:
            parts.append((page, end - page.first))
            end = page.first
    return parts[::-1]
