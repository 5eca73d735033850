"""Pages stay within their budget and are loaded only by the model that wrote them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.pages import PageStore, Tokens


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


@given(sizes=st.lists(st.integers(0, 400), max_size=20), budget=st.integers(0, 1000))
def test_the_budget_holds_and_the_newest_that_fit_stay(sizes: list[int], budget: int) -> None:
    store = PageStore("d", budget)
    for i, size in enumerate(sizes):
        store.put(str(i), tokens(i), bytes(size))
        assert store.bytes <= budget
        assert (store.take(str(i), keep=True) is not None) == (size + 4 <= budget)
    kept, left = [], budget
    for i, size in reversed(list(enumerate(sizes))):
        if size + 4 > budget:
            continue
        if size + 4 > left:
            break
        left -= size + 4
        kept.append(str(i))
    assert all(store.take(name, keep=True) is not None for name in kept)
    assert len(store) == len(kept)


def test_the_longest_shared_prefix_is_found() -> None:
    store = PageStore("d", 1000)
    store.put("a", tokens(1, 2, 3, 9), b"x")
    store.put("b", tokens(1, 2, 3, 4, 5), b"x")
    store.put("c", tokens(7), b"x")
    assert store.find(tokens(1, 2, 3, 4, 6), at_least=1) == "b"
    assert store.find(tokens(1, 2, 3, 9, 6), at_least=4) == "a"
    assert store.find(tokens(1, 2, 3, 4, 6), at_least=5) is None
    assert store.find(tokens(8), at_least=1) is None


def test_a_taken_page_is_gone_unless_it_is_kept() -> None:
    store = PageStore("d", 1000)
    store.put("a", tokens(1), b"state")
    assert store.take("a", keep=True) is not None and store.bytes > 0
    page = store.take("a", keep=False)
    assert page is not None and page.state == b"state"
    assert store.take("a", keep=False) is None and store.bytes == 0


def test_a_foreign_page_is_dropped() -> None:
    store = PageStore("ours", 1000)
    other = PageStore("theirs", 1000)
    other.put("a", tokens(1), b"state")
    store._pages, store.bytes = other._pages, other.bytes
    assert store.take("a", keep=True) is None
    assert len(store) == 0 and store.bytes == 0
