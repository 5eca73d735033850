"""Which tokens are in the KV cache, where, and whose they are.

Contract: `KvCache` keeps the books of a context's sequences (slots) and is the only one to move KV. `acquire` leases a
slot that already holds the longest prefix of a prompt that can be had: the conversation's own slot, a copy from any
other slot, running ones included, or a page from host memory or disk. It returns None when the request should wait: no
slot or too few cells are free, or another request is just computing a prefix that both share. It never fails for
memory. A released slot stays parked with its tokens until the room is needed; what is then evicted becomes a page, if
the cost model says so. `reserve` evicts until so many cells are free, `suspend` takes the slot of a running request.
`bring_back` fetches the page of a conversation that is about to go on, where `hold` told when. `gather` changes the
places of slots, so that those that compute are neighbours.

Copies between split streams are carried out by the next decode call, so until `flushed` the target of one is not paged
out, and neither side is overwritten by a page.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from aios_actors.engine.cost import CostModel
from aios_actors.engine.neighbours import closest
from aios_actors.engine.pages import WORTHWHILE, Hit, PageStore
from aios_actors.engine.passes import passes
from aios_actors.engine.radix import Match, RadixTree, common_prefix
from aios_actors.engine.returns import Returns
from aios_actors.engine.slots import CellPool, Slot, Tokens

# Cells kept free for each running request when one more is admitted to a unified cache.
HEADROOM = 32
# How long before its time a conversation is brought back; 2,000 tokens take 35 ms from host memory.
LEAD_S = 0.15


class KvBackend(Protocol):
    """What moves KV: the model, or a fake in tests."""

    def copy(self, source: int, target: int, length: int) -> None: ...
    def truncate(self, sequence: int, length: int) -> None: ...
    def save(self, sequence: int, first: int = 0, scratch: int | None = None) -> memoryview: ...
    def restore(self, sequence: int, state: memoryview) -> bool: ...


class Lease(Struct, frozen=True):
    """A slot for one request; its first `cached` tokens are computed already."""

    slot: int
    cached: int


class KvCache:
    """The slots of one context and the pages behind them."""

    def __init__(
        self,
        backend: KvBackend,
        slots: int,
        context: int,
        pages: PageStore,
        cost: CostModel,
        cells: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._backend = backend
        self._cost = cost
        self._clock = clock
        self._pool = None if cells is None else CellPool(cells)  # None: each slot has `context` cells of its own
        self.slots = [Slot(i, context, self._pool) for i in range(slots)]
        self.capacity = context * slots if cells is None else cells
        self.pages = pages
        self.crowded = False
        """Whether the last request that `acquire` sent away has to wait for cells."""
        self.brought_back = 0
        """Pages that were fetched before they were asked for."""
        self.moved = 0
        """Slots that changed places."""
        self._leases = 0
        self._held: RadixTree[Slot] = RadixTree()
        self._coming: RadixTree[Slot] = RadixTree()  # prompts that running requests are still computing
        self._away = Returns()
        self._copied_from: set[int] = set()
        self._copied_to: set[int] = set()

    def acquire(self, tokens: Tokens, conversation: str, adapters: str = "") -> Lease | None:
        """Lease a slot for a prompt of at least one token; None: ask again after the next step.

        `adapters` names the set of adapters in force: only what was computed with the same set is of use.
        """
        self.crowded = False
        free = [s for s in self.slots if not s.leased]
        if not free:
            return None
        self._index()
        reusable = tokens[: len(tokens) - 1]  # the last token must be computed: its logits are wanted
        held = self._held.match(reusable, adapters)
        if self._coming.match(reusable, adapters).length >= held.length + WORTHWHILE:
            return None
        target = self._choose(free, held, reusable, conversation, adapters)
        source = self._source(held, conversation, target)
        hit = self.pages.find(reusable, adapters, resident=held.length)
        shared = self._shared(hit, held, source, target)
        if not self._fits(len(tokens) - shared, {target.index, source.index}):
            if self.crowded:
                return None
            self.reserve(self.capacity)  # nothing runs: all parked slots make room
            return self.acquire(tokens, conversation, adapters)
        if hit is not None:
            if target.index in self._copied_from | self._copied_to:
                return None
            self._fetch(target, hit, tokens, conversation, source, shared)
        elif self._overlap(target, reusable, adapters) == held.length:
            self._vacate(target, keep=held.length, conversation=conversation)
        else:
            self._vacate(target, keep=0, conversation=conversation)
            self._copy(source, target, held.length)
        return self._lease(target, tokens, conversation, adapters)

    def release(self, index: int, *, keep: bool = True) -> None:
        """End a lease; the tokens stay parked, or with `keep` False are dropped."""
        slot = self.slots[index]
        slot.leased = False
        self._coming.remove(slot)
        self._update(slot)
        if not keep:
            self._empty(slot)

    def rewind(self, index: int, length: int) -> None:
        """Drop the tokens of a slot from `length` on."""
        slot = self.slots[index]
        self._backend.truncate(index, length)
        slot.cut(length)
        self._update(slot)

    def suspend(self, index: int, owner: str) -> None:
        """Take the slot of a running request; its tokens become a page of `owner`, if that is worth it."""
        slot = self.slots[index]
        self.release(index)
        slot.conversation = owner
        self._vacate(slot, keep=0, conversation="")
        slot.conversation = ""

    def reserve(self, cells: int, spare: frozenset[int] = frozenset()) -> int:
        """Evict parked slots, those that are wanted latest first and none of `spare`, until `cells` are free.

        Returns:
            How many are free; with split streams, where each slot has its own, all.
        """
        if self._pool is None:
            return self.capacity
        if self._pool.free >= cells:
            return self._pool.free
        parked = [s for s in self.slots if s.length and not s.leased and s.index not in spare]
        now = self._clock()
        for slot in sorted(parked, key=lambda s: (bool(s.conversation), -s.wait(now), s.used)):
            if self._pool.free >= cells:
                break
            self._vacate(slot, keep=0, conversation="")
            slot.conversation = ""
        return self._pool.free

    def evict_parked(self) -> bool:
        """Make all parked slots give their cells back; False if there was nothing to evict."""
        return self._pool is not None and self._pool.free < self.reserve(self.capacity)

    def forget(self, conversation: str) -> None:
        """A conversation is over: its slot may be reused first, and its page is dropped."""
        if not conversation:
            return
        self.pages.discard(conversation)
        self._away.drop(conversation)
        for slot in self.slots:
            if slot.conversation == conversation:
                slot.conversation = ""

    def hold(self, conversation: str, seconds: float) -> None:
        """A conversation is expected to go on in so many seconds; an unknown one is ignored."""
        due = self._clock() + seconds
        here = [slot for slot in self.slots if conversation and slot.conversation == conversation]
        for slot in here:
            slot.due = due
        if not here:
            self._expect(conversation, due)

    def rest_s(self) -> float | None:
        """The seconds until `bring_back` may have something to do; None if nothing is expected."""
        due = self._away.next()
        return None if due is None else max(due - LEAD_S - self._clock(), 0.0)

    def bring_back(self) -> None:
        """Fetch the page of the conversation that goes on next, if its time has come and a slot can be had for it.

        That is an empty one, or one whose own conversation goes on later or is over.
        """
        now = self._clock()
        if (expected := self._away.pop(now + LEAD_S)) is None:
            return
        conversation, due = expected
        page = self.pages.of(conversation)
        sooner = {s.index for s in self.slots if s.length and s.conversation and s.wait(now) <= due - now}
        busy = sooner | self._copied_from | self._copied_to
        free = [s for s in self.slots if not s.leased and s.index not in busy]
        if page is None or not free:
            return
        self._index()
        target = max(free, key=lambda s: (not s.length, not s.conversation, s.wait(now)))
        held = self._held.match(page.tokens, page.adapters)
        hit, source = self.pages.find(page.tokens, page.adapters, resident=held.length), self._source(held, "", target)
        if hit is None:
            return
        shared = self._shared(hit, held, source, target)
        if not self._fits(hit.length - shared, sooner | {source.index}):
            return
        if self._fetch(target, hit, page.tokens, conversation, source, shared):
            target.conversation, target.adapters, target.leased_at, target.due = conversation, page.adapters, now, due
            self._held.insert(target, target.tokens, page.adapters)
            self.brought_back += 1

    def gather(self) -> list[tuple[int, int]]:
        """Make neighbours of the leased slots, if that takes less time than computing them apart.

        Returns:
            Pairs of slot numbers whose slots changed places, in this order.
        """
        if not self.split or self._copied_from:
            return []
        leased = [s.index for s in self.slots if s.leased]
        apart = passes(dict.fromkeys(leased, 1))
        if apart < 2:
            return []
        lengths = [s.length for s in self.slots]
        moves = closest(leased, lengths)
        if not self._cost.worth_joining(apart - 1, sum(lengths[a] + lengths[b] for a, b in moves)):
            return []
        for move in moves:
            self._exchange(*(self.slots[index] for index in move))
        self.moved += len(moves)
        return moves

    def flushed(self) -> None:
        """Note that a decode call was made: pending copies are done."""
        self._copied_from.clear()
        self._copied_to.clear()

    @property
    def split(self) -> bool:
        """Whether each slot has a stream of cells of its own."""
        return self._pool is None

    @property
    def resident(self) -> int:
        """Cells that hold tokens."""
        return sum(s.length for s in self.slots) if self._pool is None else self._pool.capacity - self._pool.free

    @property
    def parked(self) -> int:
        """Slots that hold tokens and serve no request."""
        return sum(1 for s in self.slots if s.length and not s.leased)

    def _fits(self, tokens: int, spare: set[int]) -> bool:
        """Whether there is room for one more request, which needs `tokens` cells.

        The prompts of running ones that are not computed yet count, and some room is left for each to grow, else the
        newcomer would soon be suspended again.
        """
        running = [s for s in self.slots if s.leased]
        wanted = tokens + sum(max(s.target - s.length, 0) for s in running) + (len(running) + 1) * HEADROOM
        if not running:
            wanted = min(wanted, self.capacity)
        fits = self._pool is None or (wanted <= self.capacity and self.reserve(wanted, frozenset(spare)) >= wanted)
        self.crowded = not fits and len(running) > 0
        return fits

    def _expect(self, conversation: str, due: float) -> None:
        """Note when a conversation that is not in the cache goes on, if it has a page to bring back."""
        if self.pages.of(conversation) is not None:
            self._away.add(conversation, due)

    def _index(self) -> None:
        """Bring the trees up to what the running requests have computed."""
        for slot in self.slots:
            if slot.leased:
                self._update(slot)
                if slot.length >= slot.target:
                    self._coming.remove(slot)

    def _update(self, slot: Slot) -> None:
        known = self._held.length(slot)
        if slot not in self._held:
            self._held.insert(slot, slot.tokens, slot.adapters)
        elif known < slot.length:
            self._held.extend(slot, slot.tokens[known:])
        else:
            self._held.truncate(slot, slot.length)

    def _choose(self, free: list[Slot], held: Match[Slot], tokens: Tokens, conversation: str, adapters: str) -> Slot:
        """The slot to give away: where the least is lost, and low numbers, so that running slots are neighbours."""
        ours = [s for s in free if conversation and s.conversation == conversation]
        if ours:
            return max(ours, key=lambda s: self._overlap(s, tokens, adapters))
        continued = [s for s in held.ending if not s.leased and not s.conversation]
        if continued:
            return continued[-1]
        now = self._clock()
        return min(free, key=lambda s: (s.length > 0, bool(s.conversation), -s.wait(now), s.used, s.index))

    def _source(self, held: Match[Slot], conversation: str, target: Slot) -> Slot:
        """Whom to copy a shared prefix from; `target` itself if nobody else holds it."""
        others = [s for s in held.holders() if s is not target] if held.length else []
        return max(others, key=lambda s: (s.conversation == conversation, -s.index), default=target)

    def _shared(self, hit: Hit | None, held: Match[Slot], source: Slot, target: Slot) -> int:
        """How many of a request's first tokens take no cells of their own.

        A page brings all of its tokens, or where cells are shared and `source` has the first of them, those beyond.
        """
        if hit is None:
            return held.length
        beyond = self._pool is not None and hit.page.divisible and source is not target
        return held.length if beyond else 0

    def _overlap(self, slot: Slot, tokens: Tokens, adapters: str) -> int:
        return common_prefix(slot.tokens, tokens) if slot.adapters == adapters else 0

    def _vacate(self, slot: Slot, keep: int, conversation: str) -> None:
        """Keep the first `keep` tokens; what another conversation would lose goes to host memory."""
        theirs = slot.conversation and slot.conversation != conversation
        if theirs and slot.length - keep >= WORTHWHILE and slot.index not in self._copied_to:
            self._page_out(slot, keep)
            if slot.due is not None and slot.due > self._clock():
                self._expect(slot.conversation, slot.due)
        if keep < slot.length:
            self._backend.truncate(slot.index, keep)
            slot.cut(keep)
        self._held.remove(slot)

    def _page_out(self, slot: Slot, keep: int) -> None:
        """Save what pages do not hold yet of a slot's tokens; afterwards only the first `keep` are of use."""
        tokens = slot.tokens.copy()
        held = self.pages.claim(slot.conversation, tokens, slot.adapters)
        if not self.pages.worth_saving(held, len(tokens)):
            return
        first = 0 if keep else held  # saving a tail drops what is before it from the slot
        began = self._clock()
        state = self._backend.save(slot.index, first)
        self._cost.observe_transfer("save", len(state), self._clock() - began)
        self.pages.put(slot.conversation, tokens, state, first, slot.adapters)

    def _copy(self, source: Slot, target: Slot, length: int) -> None:
        self._backend.copy(source.index, target.index, length)
        if self._pool is None:
            self._copied_from.add(source.index)
            self._copied_to.add(target.index)
        target.share(source, length)

    def _exchange(self, *pair: Slot) -> None:
        """Let two slots change places."""
        began, tokens = self._clock(), sum(slot.length for slot in pair)
        held = [slot for slot in pair if slot.length]
        states = [self._backend.save(slot.index, scratch=number) for number, slot in enumerate(held)]
        for slot, place in zip(pair, [slot.index for slot in reversed(pair)], strict=True):
            self._backend.truncate(slot.index, 0)
            slot.index, self.slots[place] = place, slot
        for slot, state in zip(held, states, strict=True):
            if not self._backend.restore(slot.index, state):
                slot.cut(0)  # its tokens will be computed again
                self._held.remove(slot)
        if tokens:
            self._cost.observe_transfer("move", tokens, self._clock() - began)

    def _fetch(self, slot: Slot, hit: Hit, tokens: Tokens, conversation: str, source: Slot, shared: int) -> bool:
        """Put what a page holds of `tokens` into a slot, the first `shared` of them from `source`.

        Returns:
            Whether the page was of use; if not, the slot is empty.
        """
        state = self.pages.load(hit, shared)
        self._vacate(slot, keep=0, conversation=conversation)
        slot.conversation = ""
        if state is None:
            return False
        began = self._clock()
        restored = self._backend.restore(slot.index, state)
        self._cost.observe_transfer("restore", len(state), self._clock() - began)
        if restored:
            if shared:
                self._copy(source, slot, shared)
            slot.append(tokens[shared : hit.length])
        return restored

    def _lease(self, slot: Slot, tokens: Tokens, conversation: str, adapters: str) -> Lease:
        self._leases += 1
        slot.leased, slot.used, slot.conversation, slot.adapters = True, self._leases, conversation, adapters
        slot.leased_at, slot.due = self._clock(), None
        slot.target = len(tokens)
        self._away.drop(conversation)
        self._held.insert(slot, slot.tokens, adapters)
        self._coming.insert(slot, tokens, adapters)
        return Lease(slot.index, slot.length)

    def _empty(self, slot: Slot) -> None:
        self._backend.truncate(slot.index, 0)
        self._held.remove(slot)
        slot.cut(0)
        slot.conversation = ""
