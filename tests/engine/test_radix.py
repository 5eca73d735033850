"""The radix tree against a dictionary of lists, and its promises one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aios_actors.engine.radix import RadixTree, Tokens, common_prefix


def array(*tokens: int) -> Tokens:
    return np.array(tokens, np.int32)


def shared(ours: list[int], theirs: list[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def test_the_longest_prefix_is_found_and_all_its_holders() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", array(1, 2, 3, 9))
    tree.insert("b", array(1, 2, 3, 4, 5))
    tree.insert("c", array(7))
    match = tree.match(array(1, 2, 3, 4, 6))
    assert (match.length, list(match.holders()), match.count) == (4, ["b"], 1)
    match = tree.match(array(1, 2, 3))
    assert (match.length, set(match.holders()), match.count) == (3, {"a", "b"}, 2)
    match = tree.match(array(8))
    assert (match.length, list(match.holders()), match.count) == (0, [], 0)


def test_holders_that_a_prompt_continues_are_told_apart() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("short", array(1, 2))
    tree.insert("long", array(1, 2, 3, 4))
    tree.insert("other", array(1, 2, 3, 9))
    assert tree.match(array(1, 2, 3, 4, 5)).ending == ["short", "long"]


def test_what_adapters_computed_is_found_only_with_the_same_ones() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("plain", array(1, 2, 3))
    tree.insert("tuned", array(1, 2, 3), "lora-a")
    assert list(tree.match(array(1, 2, 3)).holders()) == ["plain"]
    assert list(tree.match(array(1, 2, 3), "lora-a").holders()) == ["tuned"]
    assert tree.match(array(1, 2, 3), "lora-b").length == 0


def test_a_shared_prefix_is_stored_once() -> None:
    tree: RadixTree[int] = RadixTree()
    for i in range(50):
        tree.insert(i, array(*range(100), 1000 + i))
    assert tree.tokens == 150


def test_an_empty_holder_is_kept_and_never_found() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", array())
    assert "a" in tree and tree.match(array(1)).ending == []
    tree.extend("a", array(1, 2))
    assert tree.match(array(1, 2, 3)).length == 2


sequences = st.lists(st.integers(0, 2), max_size=12)
holders = st.integers(0, 5)
adapters = st.sampled_from(["", "x"])


class RadixMachine(RuleBasedStateMachine):
    """Any order of changes: the tree says what a dictionary of lists says."""

    def __init__(self) -> None:
        super().__init__()
        self.tree: RadixTree[int] = RadixTree()
        self.model: dict[int, tuple[str, list[int]]] = {}

    @rule(holder=holders, tokens=sequences, adapters=adapters)
    def insert(self, holder: int, tokens: list[int], adapters: str) -> None:
        self.tree.insert(holder, array(*tokens), adapters)
        self.model[holder] = (adapters, tokens)

    @rule(holder=holders, tokens=sequences)
    def extend(self, holder: int, tokens: list[int]) -> None:
        if holder in self.model:
            self.tree.extend(holder, array(*tokens))
            where, held = self.model[holder]
            self.model[holder] = (where, held + tokens)

    @rule(holder=holders, length=st.integers(0, 14))
    def truncate(self, holder: int, length: int) -> None:
        if holder in self.model:
            self.tree.truncate(holder, length)
            where, held = self.model[holder]
            self.model[holder] = (where, held[:length])

    @rule(holder=holders)
    def remove(self, holder: int) -> None:
        self.tree.remove(holder)
        self.model.pop(holder, None)

    @rule(tokens=sequences, adapters=adapters)
    def match(self, tokens: list[int], adapters: str) -> None:
        match = self.tree.match(array(*tokens), adapters)
        lengths = {h: shared(held, tokens) for h, (where, held) in self.model.items() if where == adapters}
        longest = max(lengths.values(), default=0)
        assert match.length == longest
        sharing = {h for h, length in lengths.items() if length == longest and longest}
        assert set(match.holders()) == sharing and match.count == len(sharing)
        ends = [h for h, length in lengths.items() if length == len(self.model[h][1]) and length]
        assert sorted(match.ending) == sorted(ends)
        assert [len(self.model[h][1]) for h in match.ending] == sorted(len(self.model[h][1]) for h in ends)

    @invariant()
    def it_is_compact(self) -> None:
        assert len(self.tree) == len(self.model)
        prefixes = {(where, *held[: n + 1]) for where, held in self.model.values() for n in range(len(held))}
        assert self.tree.tokens == len(prefixes)
        for holder, (_, held) in self.model.items():
            assert self.tree.length(holder) == len(held)
        nodes = [node for root in self.tree._roots.values() for node in root.children.values()]
        while nodes:
            node = nodes.pop()
            assert node.count == len(set(node.holders())) > 0
            assert node.ending or len(node.children) > 1, "a node that nobody needs"
            nodes.extend(node.children.values())


TestRadixMachine = RadixMachine.TestCase
TestRadixMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_common_prefix_of_two_arrays() -> None:
    assert common_prefix(array(1, 2, 3), array(1, 2, 4)) == 2
    assert common_prefix(array(), array(1)) == 0
    assert common_prefix(array(1, 2), array(1, 2, 3)) == 2
