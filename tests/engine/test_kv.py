"""The KV books against a cache that knows which tokens each cell was really computed from."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aios_actors.engine.cost import CostModel
from aios_actors.engine.disk import BLOCK, SwapFile
from aios_actors.engine.kv import LEAD_S, KvCache, Lease, Tokens
from aios_actors.engine.pages import WORTHWHILE, PageStore
from aios_actors.engine.passes import passes
from tests.engine.driving import AlwaysJoins
from tests.engine.states import make_state, read_state

CONTEXT = 96


class FakeKv:
    """Sequences as lists of tokens. Copies happen at `decode`, as llama.cpp does them between split streams."""

    def __init__(self, sequences: int) -> None:
        self.cells: list[list[int]] = [[] for _ in range(sequences)]
        self.lengths = [0] * sequences
        self._copies: list[tuple[int, int]] = []
        self.saves = 0
        self.refuses = False  # to restore anything

    def copy(self, source: int, target: int, length: int) -> None:
        assert source != target
        self._copies.append((source, target))
        self.lengths[target] = length

    def truncate(self, sequence: int, length: int) -> None:
        self.lengths[sequence] = min(self.lengths[sequence], length)

    def save(self, sequence: int, first: int = 0, scratch: int | None = None) -> memoryview:
        assert all(target != sequence for _, target in self._copies), "saved before its copy was carried out"
        self.saves += 1
        state = make_state(self.held(sequence)[first:], first)
        self.cells[sequence][:first] = [-1] * first
        return state

    def restore(self, sequence: int, state: memoryview) -> bool:
        assert all(sequence not in copy for copy in self._copies), "overwritten before its copy was carried out"
        if self.refuses:
            self.lengths[sequence] = 0
            return False
        self.cells[sequence] = read_state(state)
        self.lengths[sequence] = len(self.cells[sequence])
        return True

    @property
    def pending(self) -> bool:
        """Whether a copy is to be carried out."""
        return bool(self._copies)

    def decode(self, chunks: dict[int, list[int]]) -> None:
        for source, target in self._copies:
            self.cells[target] = list(self.cells[source])
        self._copies = []
        for sequence, tokens in chunks.items():
            self.cells[sequence] = self.cells[sequence][: self.lengths[sequence]] + tokens
            self.lengths[sequence] += len(tokens)

    def held(self, sequence: int) -> list[int]:
        return self.cells[sequence][: self.lengths[sequence]]


class UnifiedKv(FakeKv):
    """The same with one pool of cells: a copy shares them and is done at once."""

    def __init__(self, sequences: int, cells: int) -> None:
        super().__init__(sequences)
        self.capacity = cells
        self.pool: list[list[list[int]]] = [[] for _ in range(sequences)]

    @property
    def used(self) -> int:
        return len({id(cell) for sequence in self.pool for cell in sequence})

    def copy(self, source: int, target: int, length: int) -> None:
        assert source != target
        self.pool[target] = self.pool[source][:length] + self.pool[target]  # which are those beyond

    def truncate(self, sequence: int, length: int) -> None:
        del self.pool[sequence][length:]

    def save(self, sequence: int, first: int = 0, scratch: int | None = None) -> memoryview:
        state = make_state(self.held(sequence)[first:], first)
        self.pool[sequence] = self.pool[sequence][first:]
        return state

    def restore(self, sequence: int, state: memoryview) -> bool:
        self.pool[sequence] = [[token] for token in read_state(state)]
        assert self.used <= self.capacity
        return True

    def decode(self, chunks: dict[int, list[int]]) -> None:
        for sequence, tokens in chunks.items():
            self.pool[sequence] += [[token] for token in tokens]
        assert self.used <= self.capacity

    def held(self, sequence: int) -> list[int]:
        return [token for (token,) in self.pool[sequence]]


def array(tokens: list[int]) -> Tokens:
    return np.array(tokens, np.int32)


def cache(
    slots: int = 3, budget: int = 1 << 20, blocks: int = 0, cost: CostModel | None = None
) -> tuple[KvCache, FakeKv]:
    backend, cost = FakeKv(slots), cost or CostModel()
    pages = PageStore("digest", budget, SwapFile("", blocks * BLOCK), cost)
    return KvCache(backend, slots, CONTEXT, pages, cost), backend


def prefill(kv: KvCache, backend: FakeKv, lease: Lease, tokens: list[int]) -> None:
    new = tokens[lease.cached :]
    backend.decode({lease.slot: new})
    kv.flushed()
    kv.slots[lease.slot].append(new)


def serve(kv: KvCache, backend: FakeKv, tokens: list[int], conversation: str = "") -> Lease:
    """A whole request."""
    lease = kv.acquire(array(tokens), conversation)
    assert lease is not None
    prefill(kv, backend, lease, tokens)
    assert backend.held(lease.slot) == tokens
    kv.release(lease.slot)
    return lease


def test_a_conversation_goes_on_in_its_slot() -> None:
    kv, backend = cache()
    first = serve(kv, backend, list(range(40)), "a")
    serve(kv, backend, list(range(100, 140)), "b")
    assert serve(kv, backend, list(range(60)), "a") == Lease(first.slot, 40)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    kv, backend = cache()
    serve(kv, backend, list(range(40)), "a")
    assert serve(kv, backend, list(range(40)), "a").cached == 39


def test_a_shared_prefix_is_copied_also_from_a_running_request() -> None:
    kv, backend = cache()
    system = list(range(50))
    running = kv.acquire(array([*system, 1]), "a")
    assert running is not None
    prefill(kv, backend, running, [*system, 1])
    lease = serve(kv, backend, [*system, 2, 3], "b")
    assert lease.cached == 50 and lease.slot != running.slot


def test_requests_that_start_together_compute_a_shared_prefix_once() -> None:
    kv, backend = cache()
    system = list(range(50))
    first = kv.acquire(array([*system, 1]), "a")
    assert first is not None
    assert kv.acquire(array([*system, 2]), "b") is None, "it should wait for the prefix"
    assert kv.acquire(array([7, 8]), "c") is not None, "nothing to wait for"
    prefill(kv, backend, first, [*system, 1])
    second = kv.acquire(array([*system, 2]), "b")
    assert second is not None and second.cached == 50


def test_nobody_waits_for_a_prefix_whose_request_is_gone() -> None:
    kv, _ = cache()
    first = kv.acquire(array(list(range(50))), "a")
    assert first is not None and kv.acquire(array(list(range(60))), "b") is None
    kv.release(first.slot)
    assert kv.acquire(array(list(range(60))), "b") is not None


def test_an_evicted_conversation_comes_back_from_its_page() -> None:
    kv, backend = cache(slots=1)
    serve(kv, backend, list(range(40)), "a")
    serve(kv, backend, list(range(100, 140)), "b")
    assert len(kv.pages) == 1
    assert serve(kv, backend, list(range(45)), "a").cached == 40
    assert (kv.pages.paged_in, kv.pages.paged_out) == (1, 2)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_page_comes_back_beyond_a_resident_prefix_and_shares_its_cells(ahead: bool) -> None:
    backend = UnifiedKv(3, 200)
    pages = PageStore("digest", 1 << 20, SwapFile("", 0), CostModel())
    clock = itertools.count()
    kv = KvCache(backend, 3, CONTEXT, pages, CostModel(), cells=200, clock=lambda: float(next(clock)))
    system = list(range(50))
    tokens = {name: [*system, *range(start, start + 40)] for name, start in (("a", 100), ("b", 200))}
    for name, prompt in tokens.items():
        serve(kv, backend, prompt, name)
    kv.reserve(backend.capacity - backend.used + 1)
    assert (pages.paged_out, backend.used) == (1, 90), "only what the other does not hold is free"
    if ahead:
        kv.hold("a", 0.0)
        kv.bring_back()
        assert (pages.paged_in, backend.used) == (1, 130)
    assert serve(kv, backend, [*tokens["a"], 1], "a").cached == 90
    assert (pages.paged_in, backend.used) == (1, 131)


def test_what_other_adapters_computed_is_not_taken() -> None:
    kv, backend = cache()
    serve(kv, backend, list(range(50)), "a")
    running = kv.acquire(array(list(range(60))), "b", "lora")
    assert running is not None and running.cached == 0
    other = kv.acquire(array(list(range(60))), "c", "other lora")
    assert other is not None and other.cached == 0, "nothing of use to wait for"


def test_an_agent_that_changes_its_adapters_starts_anew_and_its_page_stays_with_the_old_ones() -> None:
    kv, backend = cache(slots=1)
    serve(kv, backend, list(range(40)), "a")
    serve(kv, backend, list(range(100, 140)), "b")
    tuned = kv.acquire(array(list(range(45))), "c", "lora")
    assert tuned is not None and tuned.cached == 0
    kv.release(tuned.slot)
    assert serve(kv, backend, list(range(45)), "a").cached == 40


def test_what_has_no_conversation_is_evicted_first_and_not_paged() -> None:
    kv, backend = cache(slots=2)
    kept = serve(kv, backend, list(range(40)), "a")
    serve(kv, backend, list(range(100, 140)))
    serve(kv, backend, list(range(200, 240)), "c")
    assert kv.slots[kept.slot].length == 40 and backend.saves == 0


def test_a_damaged_page_is_recomputed() -> None:
    kv, backend = cache(slots=1)
    serve(kv, backend, list(range(40)), "a")
    serve(kv, backend, list(range(100, 140)), "b")
    page = kv.pages._by_conversation["a"]
    assert page.state is not None
    page.state = memoryview(bytes(page.state[:-1]) + b"\xff")
    assert serve(kv, backend, list(range(45)), "a").cached == 0
    assert kv.pages.refused == 1


def test_without_a_free_slot_a_request_waits() -> None:
    kv, _ = cache(slots=1)
    assert kv.acquire(array([1, 2]), "") is not None
    assert kv.acquire(array([3, 4]), "") is None


def test_forgetting_drops_the_page_and_gives_the_slot_away_first() -> None:
    kv, backend = cache(slots=2)
    serve(kv, backend, list(range(40)), "a")
    newer = serve(kv, backend, list(range(100, 140)), "b")
    kv.forget("b")
    assert serve(kv, backend, list(range(200, 240)), "c").slot == newer.slot
    assert len(kv.pages) == 0


def test_a_request_waits_for_cells_that_running_ones_are_about_to_need() -> None:
    cost = CostModel()
    kv = KvCache(UnifiedKv(3, CONTEXT), 3, CONTEXT, PageStore("digest", 0, None, cost), cost, CONTEXT)
    first = kv.acquire(array(list(range(50))), "a")
    assert first is not None
    assert kv.acquire(array(list(range(100, 140))), "b") is None and kv.crowded
    assert kv.acquire(array(list(range(60))), "c") is None and not kv.crowded, "it waits for the prefix"
    kv.release(first.slot)
    assert kv.acquire(array(list(range(100, 140))), "b") is not None and not kv.crowded


def test_running_requests_become_neighbours_and_nobody_loses_a_token() -> None:
    kv, backend = cache(slots=5, cost=AlwaysJoins())
    talks = {name: list(range(100 * number, 100 * number + 20)) for number, name in enumerate("abcde")}
    for name, tokens in talks.items():
        serve(kv, backend, tokens, name)
    for name in "ad":
        lease = kv.acquire(array([*talks[name], 7]), name)
        assert lease is not None and lease.cached == 20
        prefill(kv, backend, lease, [*talks[name], 7])
    assert kv.gather() in ([(0, 2)], [(0, 4)], [(3, 1)]) and kv.moved == 1
    assert kv.gather() == []
    running = sorted(slot.index for slot in kv.slots if slot.leased)
    assert running[1] == running[0] + 1
    for index in running:
        kv.release(index)
    assert [slot.index for slot in kv.slots] == list(range(5))
    for slot in kv.slots:
        assert backend.held(slot.index) == slot.tokens.tolist()
        assert slot.tokens[:20].tolist() == talks[slot.conversation]
    for name, tokens in talks.items():
        lease = kv.acquire(array([*tokens, 8]), name)
        assert lease is not None and lease.cached == 20


def test_slots_stay_where_they_are_while_a_copy_is_under_way() -> None:
    kv, backend = cache(slots=4, cost=AlwaysJoins())
    serve(kv, backend, list(range(40)), "a")
    serve(kv, backend, list(range(100, 140)), "b")
    first, second = kv.acquire(array([*range(40), 1]), "a"), kv.acquire(array([*range(30), 500]), "c")
    assert first is not None and second is not None and {first.slot, second.slot} == {0, 2}
    assert kv.gather() == []
    backend.decode({})
    kv.flushed()
    assert len(kv.gather()) == 1


def test_a_state_that_cannot_be_put_back_is_computed_again() -> None:
    kv, backend = cache(slots=3, cost=AlwaysJoins())
    for number, name in enumerate("abc"):
        serve(kv, backend, list(range(100 * number, 100 * number + 20)), name)
    for name, first in (("a", 0), ("c", 200)):
        assert kv.acquire(array([*range(first, first + 20), 7]), name) is not None
    backend.refuses = True
    ((old, new),) = kv.gather()
    assert kv.slots[new].leased and kv.slots[new].length == kv.slots[old].length == 0
    assert backend.lengths[new] == backend.lengths[old] == 0


words = st.integers(0, 1)
prompts = st.tuples(st.integers(0, 2), st.integers(0, 40), st.lists(words, min_size=1, max_size=30)).map(
    lambda x: [x[0] * 10 + i % 7 for i in range(x[1])] + x[2]
)


ADAPTERS = {"": 0, "lora": 1000}  # what a set of adapters adds to each token, so that its KV is told apart


class KvMachine(RuleBasedStateMachine):
    """Any order of requests, steps, ends and forgetting: what the books say is resident is what was computed."""

    @initialize(
        slots=st.integers(1, 4), budget=st.sampled_from([0, 600, 1500, 1 << 20]), blocks=st.sampled_from([0, 2])
    )
    def start(self, slots: int, budget: int, blocks: int) -> None:
        self.kv, self.backend = cache(slots, budget, blocks, AlwaysJoins())
        self.running: dict[int, list[int]] = {}

    @rule(tokens=prompts, conversation=st.sampled_from(["", "a", "b", "c", "d"]), adapters=st.sampled_from([*ADAPTERS]))
    def submit(self, tokens: list[int], conversation: str, adapters: str) -> None:
        lease = self.kv.acquire(array(tokens), conversation, adapters)
        if lease is None:
            assert self.running, "a request waited though nothing runs"
            return
        assert lease.slot not in self.running
        assert lease.cached < len(tokens)
        self.running[lease.slot] = tokens

    @precondition(lambda self: self.running)
    @rule(share=st.integers(1, 40))
    def step(self, share: int) -> None:
        chunks = {}
        for index, tokens in self.running.items():
            length = self.kv.slots[index].length
            chunks[index] = tokens[length : length + share]
        self.backend.decode({i: self.computed(i, chunk) for i, chunk in chunks.items()})
        self.kv.flushed()
        for index, chunk in chunks.items():
            self.kv.slots[index].append(chunk)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), keep=st.booleans())
    def end(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[index]
        self.kv.release(index, keep=keep)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.running)))
        self.kv.rewind(index, data.draw(st.integers(0, self.kv.slots[index].length)))

    @rule(conversation=st.sampled_from(["", "a", "b"]))
    def forget(self, conversation: str) -> None:
        self.kv.forget(conversation)

    @rule(conversation=st.sampled_from(["", "a", "b", "c", "d"]), seconds=st.sampled_from([0.0, 0.1, 100.0]))
    def hold(self, conversation: str, seconds: float) -> None:
        self.kv.hold(conversation, seconds)

    @rule()
    def bring_back(self) -> None:
        running = {slot.index: slot.tokens.tolist() for slot in self.kv.slots if slot.leased}
        self.kv.bring_back()
        assert running == {slot.index: slot.tokens.tolist() for slot in self.kv.slots if slot.leased}

    @rule()
    def gather(self) -> None:
        for old, new in self.kv.gather():
            assert new not in self.running
            self.running[new] = self.running.pop(old)
        if not self.backend.pending and self.kv.split:
            assert passes(dict.fromkeys(self.running, 1)) <= 1

    def teardown(self) -> None:
        if hasattr(self, "kv"):
            self.kv.pages.close()

    def computed(self, index: int, tokens: list[int]) -> list[int]:
        """What the KV of `tokens` in a slot is."""
        return [token + ADAPTERS[self.kv.slots[index].adapters] for token in tokens]

    @invariant()
    def books_are_right(self) -> None:
        self.backend.decode({})
        self.kv.flushed()
        for slot in self.kv.slots:
            assert self.backend.held(slot.index) == self.computed(slot.index, slot.tokens.tolist())
            assert slot.leased == (slot.index in self.running)
            if slot.leased:
                assert self.running[slot.index][: slot.length] == slot.tokens.tolist()
        assert self.kv.pages.bytes <= self.kv.pages._budget


class DeferringKvMachine(KvMachine):
    """The same without a decode between the rules: several requests are admitted in one step."""

    @invariant()
    def books_are_right(self) -> None:
        for slot in self.kv.slots:
            assert self.backend.lengths[slot.index] == slot.length
            assert slot.leased == (slot.index in self.running)

    @precondition(lambda self: self.running)
    @rule()
    def check(self) -> None:
        super().books_are_right()


class UnifiedKvMachine(KvMachine):
    """Slots that share cells: the pool's books are those of the cache, and nothing ever needs more than there are."""

    @initialize(slots=st.integers(1, 4), budget=st.sampled_from([0, 1500, 1 << 20]), blocks=st.sampled_from([0, 2]))
    def start(self, slots: int, budget: int, blocks: int) -> None:
        cost, self.backend = CostModel(), UnifiedKv(slots, CONTEXT)
        pages = PageStore("digest", budget, SwapFile("", blocks * BLOCK), cost)
        self.kv, self.running = KvCache(self.backend, slots, CONTEXT, pages, cost, CONTEXT), {}

    @precondition(lambda self: self.running)
    @rule(share=st.integers(1, 40))
    def step(self, share: int) -> None:
        wanted = {i: min(share, len(t) - self.kv.slots[i].length) for i, t in self.running.items()}
        while (room := self.kv.reserve(sum(wanted.values()))) < len(wanted) > 1:
            self.kv.suspend(max(wanted), "suspended")
            del self.running[max(wanted)], wanted[max(wanted)]
        chunks = {}
        for index, count in wanted.items():
            length = self.kv.slots[index].length
            chunks[index] = self.running[index][length : length + min(count, room // len(wanted))]
        self.backend.decode({i: self.computed(i, chunk) for i, chunk in chunks.items()})
        self.kv.flushed()
        for index, chunk in chunks.items():
            self.kv.slots[index].append(chunk)

    @invariant()
    def pool_is_right(self) -> None:
        assert self.kv.resident == self.backend.used <= self.kv.capacity


TestKvMachine = KvMachine.TestCase
TestDeferringKvMachine = DeferringKvMachine.TestCase
TestKvMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestUnifiedKvMachine = UnifiedKvMachine.TestCase
TestDeferringKvMachine.settings = TestUnifiedKvMachine.settings = TestKvMachine.settings


def test_waiting_is_worth_it_only_for_more_than_a_few_tokens() -> None:
    kv, _ = cache()
    shared = list(range(WORTHWHILE - 1))
    assert kv.acquire(array([*shared, 1, 2]), "a") is not None
    assert kv.acquire(array([*shared, 3, 4]), "b") is not None


def away(clock: Callable[[], float], *, slots: int = 1) -> tuple[KvCache, FakeKv]:
    """A cache whose slots hold conversations `b`, `c`, ...; `a` is in a page."""
    fake, cost = FakeKv(slots), CostModel()
    kv = KvCache(fake, slots, CONTEXT, PageStore("digest", 1 << 20, None, cost), cost, clock=clock)
    for number in range(slots + 1):
        serve(kv, fake, list(range(100 * number, 100 * number + 40)), "abc"[number])
    assert kv.pages.of("a") is not None
    return kv, fake


def test_a_conversation_is_brought_back_before_its_agent_goes_on() -> None:
    now = 100.0
    kv, fake = away(lambda: now)
    kv.forget("b")
    kv.hold("a", 2.0)
    assert kv.rest_s() == pytest.approx(2.0 - LEAD_S)
    kv.bring_back()
    assert kv.slots[0].tokens[0] == 100, "too early"
    now += 1.9
    assert kv.rest_s() == 0.0
    kv.bring_back()
    assert fake.held(0) == list(range(40)) and kv.rest_s() is None and kv.brought_back == 1
    came = kv.pages.paged_in
    assert serve(kv, fake, list(range(45)), "a") == Lease(0, 40) and kv.pages.paged_in == came


def test_what_goes_on_sooner_is_not_sent_away_for_it() -> None:
    kv, fake = away(lambda: 100.0)
    kv.hold("b", 0.05)
    kv.hold("a", 0.1)
    kv.bring_back()
    assert fake.held(0) == list(range(100, 140)) and kv.brought_back == 0


def test_what_goes_on_later_makes_room_and_is_brought_back_in_its_turn() -> None:
    now = 100.0
    kv, fake = away(lambda: now)
    kv.hold("b", 5.0)
    kv.hold("a", 0.1)
    kv.bring_back()
    assert fake.held(0) == list(range(40)) and kv.rest_s() == pytest.approx(5.0 - LEAD_S)
    kv.release(kv.acquire(array(list(range(45))), "a").slot)  # type: ignore[union-attr]
    now += 5.0
    kv.bring_back()
    assert fake.held(0) == list(range(100, 140)) and kv.brought_back == 2


def test_nobody_is_brought_back_who_is_here_or_has_ended_or_was_never_known() -> None:
    kv, _ = away(lambda: 100.0, slots=2)
    kv.hold("b", 0.0)
    kv.hold("nobody", 0.0)
    kv.hold("a", 0.0)
    kv.forget("a")
    assert kv.rest_s() is None
    kv.bring_back()
    assert kv.brought_back == 0


def test_of_parked_conversations_the_one_that_goes_on_latest_is_evicted_first() -> None:
    now = 100.0
    fake = FakeKv(3)
    cost = CostModel()
    kv = KvCache(fake, 3, CONTEXT, PageStore("digest", 0, SwapFile("", 0), cost), cost, clock=lambda: now)
    for name, start in (("soon", 100), ("late", 200), ("unknown", 300)):
        lease = kv.acquire(np.arange(start, start + 20, dtype=np.int32), name)
        assert lease is not None
        kv.slots[lease.slot].append(range(start, start + 20))
        kv.release(lease.slot)
        now += 1.0
    kv.hold("soon", 0.5)
    kv.hold("late", 60.0)
    kv.hold("nobody", 1.0)
    kv.hold("", 1.0)
    evicted = []
    for number in range(3):
        lease = kv.acquire(np.arange(1000 * number + 400, 1000 * number + 420, dtype=np.int32), "")
        assert lease is not None
        evicted.append(lease.slot)
        now += 0.1
    assert evicted == [1, 2, 0]
