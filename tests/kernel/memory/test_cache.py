"""LRU-K against the definition of the paper, computed the slow way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.kernel.memory.cache import LruK


class NaiveLruK:
    """LRU-K by its definition: it keeps every reference of every key, and looks at all entries to find the victim."""

    def __init__(self, capacity: int, k: int) -> None:
        self.capacity, self.k = capacity, k
        self.values: dict[int, int] = {}
        self.references: dict[int, list[int]] = {}
        self.now = 0

    def refer(self, key: int) -> None:
        self.now += 1
        self.references.setdefault(key, []).append(self.now)

    def get(self, key: int) -> int | None:
        if key in self.values:
            self.refer(key)
        return self.values.get(key)

    def put(self, key: int, value: int) -> None:
        if key not in self.values and len(self.values) == self.capacity:
            del self.values[min(self.values, key=self.distance)]
        self.values[key] = value
        self.refer(key)

    def distance(self, key: int) -> tuple[int, int]:
        references = self.references[key]
        return (references[-self.k] if len(references) >= self.k else 0), references[-1]

    def discard(self, key: int) -> None:
        self.values.pop(key, None)
        self.references.pop(key, None)


OPERATIONS = st.lists(st.tuples(st.sampled_from(["get", "put", "put", "discard"]), st.integers(0, 9)), max_size=300)


@settings(deadline=None)
@given(capacity=st.integers(1, 6), k=st.integers(1, 3), operations=OPERATIONS)
def test_evicts_what_the_definition_evicts(capacity: int, k: int, operations: list[tuple[str, int]]) -> None:
    cache: LruK[int, int] = LruK(capacity, k, history=1000)
    model = NaiveLruK(capacity, k)
    for step, (operation, key) in enumerate(operations):
        if operation == "get":
            assert cache.get(key) == model.get(key)
        elif operation == "put":
            cache.put(key, step)
            model.put(key, step)
        else:
            cache.discard(key)
            model.discard(key)
        assert {key for key in range(10) if key in cache} == set(model.values)
        assert len(cache) == len(model.values)


def test_a_scan_does_not_evict_what_is_used_twice() -> None:
    cache: LruK[str, int] = LruK(3)
    cache.put("hot", 1)
    assert cache.get("hot") == 1
    for number in range(100):
        cache.put(f"scanned {number}", number)
    assert "hot" in cache


def test_history_is_bounded() -> None:
    remembering: LruK[str, int] = LruK(2, history=1)
    forgetful: LruK[str, int] = LruK(2, history=0)
    for cache in (remembering, forgetful):
        for key in ("a", "b", "c", "a", "d"):
            cache.put(key, 0)
    assert "a" in remembering  # its first reference was remembered, so it has two
    assert "c" not in remembering
    assert "a" in forgetful  # the last used of those with one reference
    remembering.put("e", 0)
    forgetful.put("e", 0)
    assert "a" in remembering
    assert "a" not in forgetful


def test_many_hits_keep_the_heap_small() -> None:
    cache: LruK[int, int] = LruK(10)
    for key in range(10):
        cache.put(key, key)
    for step in range(10_000):
        cache.get(step % 10)
    assert len(cache._heap) <= 4 * 10 + 64


def test_no_capacity_keeps_nothing() -> None:
    cache: LruK[str, int] = LruK(0)
    cache.put("a", 1)
    assert cache.get("a") is None
    assert repr(cache) == "<LruK k=2 0/0>"


@pytest.mark.parametrize(("capacity", "k", "history"), [(-1, 2, None), (1, 0, None), (1, 2, -1)])
def test_refuses_bad_sizes(capacity: int, k: int, history: int | None) -> None:
    with pytest.raises(ValueError, match="LruK"):
        LruK(capacity, k, history)
