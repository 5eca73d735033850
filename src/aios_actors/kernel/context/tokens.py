"""Token sequences that share their beginnings.

Contract: a sequence is a chain of immutable chunks, each of which goes on from the first `start` tokens of its parent's
chain; (chunk, length) names the first `length` tokens of a chain. A fork is a second holder of the same pair and costs
no tokens. `TokenTree` knows the chunks in memory, frees one when its last holder lets go, and counts the bytes of all.
Plain objects without I/O.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

OVERHEAD = 160
"""Bytes of a chunk beside its tokens (Python 3.11: the object, its array, its place in the tree)."""

SMALL = 256
"""Up to this many tokens of a chunk are copied rather than shared: many small chunks would cost more than a copy."""


@dataclass(eq=False, slots=True)
class Chunk:
    """A run of tokens, 4 bytes each.

    Attributes:
        id: unique in the database.
        parent: what it goes on from; None at the root.
        start: tokens before it.
        tokens: its own; never changed.
        holders: sequences and chunks that need it.
        stored: whether it is on disk.
    """

    id: int
    parent: "Chunk | None"
    start: int
    tokens: "array[int]"
    holders: int = 0
    stored: bool = False

    @property
    def bytes(self) -> int:
        """What it costs in memory."""
        return 4 * len(self.tokens) + OVERHEAD

    def chain(self) -> "list[Chunk]":
        """Itself and what it goes on from, the root first."""
        chunks, chunk = [self], self.parent
        while chunk is not None:
            chunks.append(chunk)
            chunk = chunk.parent
        return chunks[::-1]


class TokenTree:
    """The chunks in memory."""

    def __init__(self, first_id: int = 1) -> None:
        """`first_id`: from here on ids are new."""
        self._ids = count(first_id)
        self._chunks: dict[int, Chunk] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._chunks)

    def write(self, tokens: "array[int]", like: Chunk | None = None, length: int = 0) -> Chunk:
        """A chain that begins with `tokens` and shares what it can with the first `length` tokens of `like`.

        The caller is to `hold` it at once. Sharing needs no search: a conversation grows at its end.
        """
        shared, base = 0, None
        for chunk, end in _pieces(like, length):
            part = min(end, len(tokens)) - chunk.start
            same = common_prefix(chunk.tokens[:part], tokens[chunk.start : chunk.start + part])
            if same:
                shared, base = chunk.start + same, chunk
            if same < end - chunk.start:
                break
        if base is not None and shared == len(tokens):
            return base
        if base is not None and shared - base.start <= SMALL:
            shared, base = base.start, base.parent
        return self._add(next(self._ids), base, shared, tokens[shared:])

    def adopt(self, rows: Iterable[tuple[int, int, bytes]]) -> Chunk | None:
        """The chain that was read from disk as (id, start, tokens), root first; what is in memory already is shared."""
        chunk = None
        for number, start, data in rows:
            known = self._chunks.get(number)
            if known is None:
                known = self._add(number, chunk, start, array("i", data))
                known.stored = True
            chunk = known
        return chunk

    def hold(self, chunk: Chunk) -> None:
        """One more sequence needs the chunk."""
        chunk.holders += 1

    def release(self, chunk: Chunk) -> None:
        """A sequence needs the chunk no more: with its last holder it is freed, and what only it needed."""
        chunk.holders -= 1
        while chunk.holders == 0:
            del self._chunks[chunk.id]
            self.bytes -= chunk.bytes
            if chunk.parent is None:
                return
            chunk = chunk.parent
            chunk.holders -= 1

    def _add(self, number: int, parent: Chunk | None, start: int, tokens: "array[int]") -> Chunk:
        chunk = self._chunks[number] = Chunk(number, parent, start, tokens)
        self.bytes += chunk.bytes
        if parent is not None:
            parent.holders += 1
        return chunk


def read(chunk: Chunk | None, length: int) -> "array[int]":
    """The first `length` tokens of a chain."""
    tokens = array("i")
    for piece, end in _pieces(chunk, length):
        tokens += piece.tokens[: end - piece.start]
    return tokens


def common_prefix(ours: "array[int]", theirs: "array[int]") -> int:
    """How many tokens at the beginning are equal."""
    low, high = 0, min(len(ours), len(theirs))
    if ours[:high] == theirs[:high]:
        return high
    while low < high - 1:  # equal up to `low`, different somewhere before `high`
        middle = (low + high) // 2
        if ours[low:middle] == theirs[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _pieces(chunk: Chunk | None, length: int) -> Iterator[tuple[Chunk, int]]:
    """The chunks of a chain, root first, each with the position where the chain leaves it."""
    chain = chunk.chain() if chunk is not None and length else []
    for index, piece in enumerate(chain):
        yield piece, chain[index + 1].start if index + 1 < len(chain) else length
