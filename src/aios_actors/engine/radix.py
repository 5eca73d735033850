"""A radix tree of token prefixes: who holds which tokens, and who shares them.

Contract: a `RadixTree` maps holders (slots, pages: anything hashable) to token sequences, each under a set of adapters,
because KV computed with another adapter is other KV. `match` finds the longest prefix of a prompt that any holder has,
in time proportional to that prefix and not to the number of holders. Every node counts the holders below it; a node
that nobody holds is gone at once. The compact form (edges of many tokens, split where holders diverge) is that of
Morrison's PATRICIA trie; its use over KV caches follows SGLang's RadixAttention (arXiv 2312.07104).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
H = TypeVar("H", bound=Hashable)


class _Node(Generic[H]):
    """An edge of tokens and what is below it. `depth` counts the tokens from the root to the end of the edge."""

    __slots__ = ("adapters", "children", "count", "depth", "edge", "ending", "parent")

    def __init__(self, edge: Tokens, parent: _Node[H] | None, adapters: str) -> None:
        self.edge = edge
        self.parent = parent
        self.adapters = adapters
        self.depth: int = len(edge) + (parent.depth if parent else 0)
        self.children: dict[int, _Node[H]] = {}
        self.ending: dict[H, None] = {}  # holders whose tokens end here, oldest first
        self.count = 0  # holders that end here or below

    def holders(self) -> Iterator[H]:
        """All holders that end here or below."""
        nodes = [self]
        while nodes:
            node = nodes.pop()
            yield from node.ending
            nodes.extend(node.children.values())


class Match(Generic[H]):
    """How far a tree knows a prompt."""

    __slots__ = ("_node", "ending", "length")

    def __init__(self, node: _Node[H], length: int, ending: list[H]) -> None:
        self.length = length
        """Tokens of the longest prefix that a holder has."""
        self.ending = ending
        """Holders whose own tokens are all a prefix of the prompt, longest last; empty ones are left out."""
        self._node = node

    def holders(self) -> Iterator[H]:
        """Every holder of the `length` tokens; none if `length` is 0."""
        return self._node.holders() if self.length else iter(())

    @property
    def count(self) -> int:
        """How many holders share the `length` tokens."""
        return self._node.count if self.length else 0


class RadixTree(Generic[H]):
    """Token sequences by holder."""

    def __init__(self) -> None:
        self._roots: dict[str, _Node[H]] = {}
        self._at: dict[H, _Node[H]] = {}

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, holder: H) -> bool:
        return holder in self._at

    @property
    def tokens(self) -> int:
        """Tokens on all edges: what the holders have together, shared ones counted once."""
        return sum(len(node.edge) for root in self._roots.values() for node in _walk(root))

    def length(self, holder: H) -> int:
        """How many tokens a holder has; 0 for one that is not in the tree."""
        return self._at[holder].depth if holder in self._at else 0

    def insert(self, holder: H, tokens: Tokens, adapters: str = "") -> None:
        """Note that `holder` has exactly `tokens`, computed with `adapters`."""
        self.remove(holder)
        root = self._roots.setdefault(adapters, _Node(np.empty(0, np.int32), None, adapters))
        self._put(holder, root, tokens)

    def extend(self, holder: H, tokens: Tokens) -> None:
        """Note that a holder of the tree has `tokens` more."""
        node = self._at[holder]
        if len(tokens) == 0:
            return
        if node.count == 1 and node.parent is not None:  # nobody else: the edge grows
            node.edge = np.concatenate((node.edge, tokens))
            node.depth += len(tokens)
        else:
            self._leave(holder, node, prune=False)
            self._put(holder, node, tokens)
            if node.parent is not None and not node.ending and len(node.children) == 1:
                _merge(node)

    def truncate(self, holder: H, length: int) -> None:
        """Note that a holder of the tree has only its first `length` tokens."""
        node = self._at[holder]
        if length >= node.depth:
            return
        above = node
        while above.parent is not None and above.parent.depth >= length:
            above = above.parent
        if above.depth > length:
            above = _split(above, length)
        # Arrive before leaving, so that what stays is not pruned on the way.
        above.ending[holder] = None
        self._at[holder] = above
        _count(above, +1)
        self._leave(holder, node, prune=True)

    def remove(self, holder: H) -> None:
        """Forget a holder; unknown ones are ignored."""
        if holder in self._at:
            self._leave(holder, self._at[holder], prune=True)
            del self._at[holder]

    def match(self, tokens: Tokens, adapters: str = "") -> Match[H]:
        """The longest prefix of `tokens` that is held, and by whom."""
        node = self._roots.get(adapters)
        if node is None:
            return Match(_Node(np.empty(0, np.int32), None, adapters), 0, [])
        ending: list[H] = []
        while node.depth < len(tokens):
            child = node.children.get(int(tokens[node.depth]))
            if child is None:
                break
            shared = common_prefix(child.edge, tokens[node.depth :])
            if shared < len(child.edge):
                return Match(child, node.depth + shared, ending)
            node = child
            ending.extend(node.ending)
        return Match(node, node.depth, ending)

    def _put(self, holder: H, node: _Node[H], tokens: Tokens) -> None:
        """Place a holder `tokens` below `node`, growing and splitting edges."""
        rest = tokens
        while len(rest):
            child = node.children.get(int(rest[0]))
            if child is None:
                child = _Node(rest.copy(), node, node.adapters)
                node.children[int(rest[0])] = child
            shared = common_prefix(child.edge, rest)
            if shared < len(child.edge):
                child = _split(child, node.depth + shared)
            node, rest = child, rest[shared:]
        node.ending[holder] = None
        self._at[holder] = node
        _count(node, +1)

    def _leave(self, holder: H, node: _Node[H], *, prune: bool) -> None:
        """Take a holder off its node; with `prune` what is then of no use goes too."""
        del node.ending[holder]
        _count(node, -1)
        while prune and node.parent is not None:
            parent = node.parent
            if node.count == 0:
                del parent.children[int(node.edge[0])]
            elif not node.ending and len(node.children) == 1:
                _merge(node)
            else:
                return
            node = parent
        if prune and node.count == 0:
            self._roots.pop(node.adapters, None)


def common_prefix(ours: Tokens, theirs: Tokens) -> int:
    """How many tokens at the beginning are equal."""
    length = min(len(ours), len(theirs))
    different = ours[:length] != theirs[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length


def _count(node: _Node[H], change: int) -> None:
    """A holder came or went below all nodes from `node` up."""
    above: _Node[H] | None = node
    while above is not None:
        above.count += change
        above = above.parent


def _split(node: _Node[H], depth: int) -> _Node[H]:
    """Cut the edge of `node` at `depth` tokens from the root; the new node that ends there."""
    parent = node.parent
    assert parent is not None and parent.depth < depth < node.depth
    cut = depth - parent.depth
    middle = _Node(node.edge[:cut].copy(), parent, node.adapters)
    middle.count = node.count
    parent.children[int(node.edge[0])] = middle
    node.edge = node.edge[cut:].copy()
    node.parent = middle
    middle.children[int(node.edge[0])] = node
    return middle


def _merge(node: _Node[H]) -> None:
    """Join a node that nobody ends at with its only child, which takes its place."""
    (child,) = node.children.values()
    assert node.parent is not None
    child.edge = np.concatenate((node.edge, child.edge))
    child.parent = node.parent
    node.parent.children[int(node.edge[0])] = child


def _walk(root: _Node[H]) -> Iterator[_Node[H]]:
    nodes = [root]
    while nodes:
        node = nodes.pop()
        yield node
        nodes.extend(node.children.values())
