"""Pages stay within the budgets of both tiers, share prefixes, and are loaded only sound and by who wrote them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aios_actors.engine.cost import CostModel, Work
from aios_actors.engine.disk import BLOCK, SwapFile
from aios_actors.engine.pages import PageStore, Tokens
from tests.engine.states import make_state, read_state

LARGE = 1 << 20
SYSTEM = list(range(100, 140))


def array(tokens: list[int]) -> Tokens:
    return np.array(tokens, np.int32)


def put(store: PageStore, conversation: str, tokens: list[int], adapters: str = "") -> None:
    """Page a conversation out as the KV cache does."""
    held = store.claim(conversation, array(tokens), adapters)
    if held < len(tokens):
        store.put(conversation, array(tokens), make_state(tokens[held:], held), held, adapters)


def fetch(store: PageStore, tokens: list[int], adapters: str = "") -> list[int]:
    """What the longest page that helps with `tokens` restores."""
    hit = store.find(array(tokens), adapters)
    state = store.load(hit) if hit is not None else None
    return [] if state is None else read_state(state)


def size(tokens: int) -> int:
    return len(make_state(list(range(tokens))))


def test_the_longest_shared_prefix_is_fetched() -> None:
    store = PageStore("d", LARGE)
    put(store, "a", [*SYSTEM, 1, 2, 3, 9])
    put(store, "b", [*SYSTEM, 1, 2, 3, 4, 5])
    put(store, "c", list(range(30)))
    assert fetch(store, [*SYSTEM, 1, 2, 3, 4, 6]) == [*SYSTEM, 1, 2, 3, 4]
    assert fetch(store, [*SYSTEM, 1, 2, 3, 9, 9]) == [*SYSTEM, 1, 2, 3, 9]
    assert fetch(store, [*SYSTEM, 7]) == SYSTEM
    assert fetch(store, [8, 9]) == []
    hit = store.find(array([*SYSTEM, 7]), resident=len(SYSTEM) - 3)
    assert hit is None, "what is resident nearly reaches as far"


def test_a_shared_prefix_is_kept_once() -> None:
    store = PageStore("d", LARGE)
    for agent in range(10):
        put(store, f"agent {agent}", [*SYSTEM * 10, *range(1000 * agent, 1000 * agent + 20)])
    assert store.bytes < size(400 + 20) + 9 * size(20) + 1
    for agent in range(10):
        tokens = [*SYSTEM * 10, *range(1000 * agent, 1000 * agent + 20)]
        assert fetch(store, tokens) == tokens


def test_a_conversation_that_grows_adds_only_what_is_new() -> None:
    store = PageStore("d", LARGE)
    tokens: list[int] = []
    for turn in range(60):
        tokens = tokens + list(range(100 * turn, 100 * turn + 20))
        put(store, "a", tokens)
        assert fetch(store, tokens) == tokens
    assert max(len(list(page.chain())) for page in store._in_memory) <= 18
    store.discard("a")
    assert (len(store), store.bytes) == (0, 0), "nothing else needed the earlier ones"


def test_what_tails_are_based_on_outlives_its_conversation() -> None:
    store = PageStore("d", LARGE)
    put(store, "a", [*SYSTEM, 1, 2])
    put(store, "b", [*SYSTEM, *range(20)])
    store.discard("a")
    assert fetch(store, [*SYSTEM, *range(20), 3]) == [*SYSTEM, *range(20)]
    store.discard("b")
    assert (len(store), store.bytes) == (0, 0)


def test_adapters_keep_pages_apart() -> None:
    store = PageStore("d", LARGE)
    put(store, "a", [*SYSTEM, 1])
    assert fetch(store, [*SYSTEM, 1, 2], "lora") == []
    put(store, "b", [*SYSTEM, 1], "lora")
    assert fetch(store, [*SYSTEM, 1, 2], "lora") == [*SYSTEM, 1]


def test_the_least_recently_used_goes_to_disk_and_comes_back(tmp_path: Path) -> None:
    swap = SwapFile(str(tmp_path), 8 * BLOCK)
    store = PageStore("d", 3 * size(50), swap)
    pages = {name: [seed * 100 + i for i in range(50)] for seed, name in enumerate("abcd")}
    for name, tokens in pages.items():
        put(store, name, tokens)
    assert (store.disk_pages, store.disk_bytes) == (1, BLOCK) and store.bytes == 3 * size(50)
    assert fetch(store, [*pages["a"], 1]) == pages["a"]
    for tokens in pages.values():
        assert fetch(store, tokens) == tokens
    for name in pages:
        store.discard(name)
    assert (len(store), store.bytes, store.disk_bytes) == (0, 0, 0)


def test_without_a_disk_the_least_recently_used_is_dropped() -> None:
    store = PageStore("d", 2 * size(50))
    pages = {name: [seed * 100 + i for i in range(50)] for seed, name in enumerate("abc")}
    put(store, "a", pages["a"])
    put(store, "b", pages["b"])
    assert fetch(store, pages["a"]) == pages["a"]
    put(store, "c", pages["c"])
    assert fetch(store, pages["b"]) == []
    assert fetch(store, pages["a"]) == pages["a"] and fetch(store, pages["c"]) == pages["c"]


def test_a_page_that_made_room_after_it_was_found_is_not_loaded() -> None:
    store = PageStore("d", size(50))
    tokens = {name: [seed * 100 + i for i in range(50)] for seed, name in enumerate("ab")}
    put(store, "a", tokens["a"])
    found = store.find(array(tokens["a"]))
    assert found is not None
    put(store, "b", tokens["b"])
    assert store.load(found) is None
    assert (store.refused, store.paged_in) == (0, 0)
    assert fetch(store, tokens["b"]) == tokens["b"]


def test_a_disk_slower_than_the_model_is_not_used(tmp_path: Path) -> None:
    cost = CostModel()
    for _ in range(3):
        cost.observe_step(Work(1, 0, 1), 0.01)
        cost.observe_step(Work.span(0, 50, 1), 0.02)
    cost.observe_transfer("read", 1000, 5.0)
    store = PageStore("d", size(50), SwapFile(str(tmp_path), 8 * BLOCK), cost)
    put(store, "a", list(range(50)))
    put(store, "b", list(range(100, 150)))
    assert store.disk_pages == 0 and fetch(store, list(range(50))) == []


def test_a_page_larger_than_the_budget_is_not_kept() -> None:
    store = PageStore("d", size(50) - 1)
    put(store, "a", list(range(50)))
    assert (len(store), store.bytes) == (0, 0)


def test_a_damaged_page_is_refused_with_all_that_is_based_on_it() -> None:
    store = PageStore("d", LARGE)
    put(store, "a", SYSTEM)
    put(store, "b", [*SYSTEM, *range(20)])
    put(store, "c", list(range(50)))
    base = store._by_conversation["a"]
    assert base.state is not None
    damaged = bytearray(base.state)
    damaged[60] ^= 1
    base.state = memoryview(bytes(damaged))
    assert fetch(store, [*SYSTEM, *range(20)]) == []
    assert (len(store), store.refused) == (1, 1)
    assert fetch(store, list(range(50))) == list(range(50))


@pytest.mark.parametrize("what", ["bit", "model", "adapters", "tokens", "shorter"])
def test_a_page_on_disk_that_is_not_what_it_should_be_is_refused(tmp_path: Path, what: str) -> None:
    swap = SwapFile(str(tmp_path), 8 * BLOCK)
    store = PageStore("ours", size(50), swap)
    put(store, "a", list(range(50)))
    put(store, "b", list(range(100, 150)))
    page = store._by_conversation["a"]
    assert page.extent is not None and swap._file is not None
    other = PageStore("theirs" if what == "model" else "ours", LARGE)
    tokens = [7, *range(1, 50)] if what == "tokens" else list(range(50))
    put(other, "x", tokens, "lora" if what == "adapters" else "")
    foreign = other._by_conversation["x"]
    offset = page.extent.blocks[0] * BLOCK
    if what == "bit":
        os.pwrite(swap._file.fileno(), b"\xee", offset + 300)
    elif what == "shorter":
        os.ftruncate(swap._file.fileno(), offset + 100)
    else:
        assert foreign.state is not None
        swap.free(page.extent)
        page.extent = swap.write(foreign.state, foreign.binding)
    assert fetch(store, list(range(50))) == []
    assert store.refused == 1 and store.disk_bytes == 0


def test_a_state_that_cannot_be_cut_is_kept_and_used_only_whole() -> None:
    store = PageStore("d", LARGE)
    opaque = memoryview(b"the state of a recurrent model")
    store.put("a", array(SYSTEM), opaque)
    assert store.find(array(SYSTEM[:30])) is None, "a part of it is of no use"
    hit = store.find(array([*SYSTEM, 1]))
    assert hit is not None and store.load(hit) == opaque
    assert store.claim("b", array([*SYSTEM, *range(20)])) == 0, "nothing can be based on it"


conversations = st.sampled_from("abcdef")
contexts = st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(0, 3), st.integers(0, 40)).map(
    lambda x: [x[0] * 1000 + i for i in range(x[1])] + [x[2] * 1000 + 500 + i for i in range(x[3])]
)


class PageMachine(RuleBasedStateMachine):
    """Any order of paging out, fetching and ending: budgets hold, and what is fetched is what was saved."""

    @initialize(budget=st.sampled_from([0, 900, 3000, LARGE]), blocks=st.integers(0, 4))
    def start(self, budget: int, blocks: int) -> None:
        self.budget, self.blocks = budget, blocks
        self.store = PageStore("d", budget, SwapFile("", blocks * BLOCK))

    @rule(conversation=conversations, tokens=contexts, adapters=st.sampled_from(["", "x"]))
    def put(self, conversation: str, tokens: list[int], adapters: str) -> None:
        if tokens:
            put(self.store, conversation, [t + 10_000 * bool(adapters) for t in tokens], adapters)

    @rule(tokens=contexts, adapters=st.sampled_from(["", "x"]))
    def fetch(self, tokens: list[int], adapters: str) -> None:
        tokens = [t + 10_000 * bool(adapters) for t in tokens]
        fetched = fetch(self.store, tokens, adapters)
        assert fetched == tokens[: len(fetched)]

    @rule(conversation=conversations)
    def discard(self, conversation: str) -> None:
        self.store.discard(conversation)

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        pages = [page for page in self.store._in_memory if page.state is not None and page.size]
        if pages:
            page = data.draw(st.sampled_from(pages))
            assert page.state is not None
            page.state = memoryview(bytes(page.state[:-1]) + bytes([page.state[-1] ^ 1]))

    @invariant()
    def books_are_right(self) -> None:
        store = self.store
        assert store.bytes == sum(page.size for page in store._in_memory) <= self.budget
        assert store.disk_bytes <= self.blocks * BLOCK
        assert len(store) == len(store._in_memory) + len(store._on_disk)
        for page in (*store._in_memory, *store._on_disk):
            assert (page.state is None) != (page.extent is None)
            assert page.conversations or page.tails, "a page that nobody needs"
            assert all(tail.base is page and tail in store._tree for tail in page.tails)
            assert page.base is None or (page in page.base.tails and page.first <= len(page.base.tokens))
        assert all(name in page.conversations for name, page in store._by_conversation.items())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for conversation in "abcdef":
                self.store.discard(conversation)
            assert (len(self.store), self.store.bytes, self.store.disk_bytes) == (0, 0, 0)
            self.store.close()


TestPageMachine = PageMachine.TestCase
TestPageMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
