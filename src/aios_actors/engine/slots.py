"""The sequences of a context and the KV cells that they hold.

Contract: a `Slot` knows which tokens of its sequence are resident. With a unified KV cache all slots take their cells
from one pool, and a copied prefix shares the cells of its source; `CellPool` then counts, exactly as llama.cpp's own
bookkeeping does, how many are free. With split streams every slot has cells of its own and there is no pool.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]


class CellPool:
    """The cells of a unified KV cache, each held by any number of slots."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity
        self._holders = np.zeros(capacity, np.int32)
        self._free = np.arange(capacity, dtype=np.int32)  # the first `free` are free

    def take(self, count: int) -> npt.NDArray[np.int32]:
        """Cells that were free. Raises `ValueError` if there are fewer."""
        if count > self.free:
            raise ValueError(f"{count} cells are wanted and {self.free} are free")
        self.free -= count
        cells = self._free[self.free : self.free + count].copy()
        self._holders[cells] = 1
        return cells

    def take_one(self) -> np.int32:
        """A cell that was free. Raises `ValueError` if there is none."""
        if not self.free:
            raise ValueError("a cell is wanted and none is free")
        self.free -= 1
        cell: np.int32 = self._free[self.free]
        self._holders[cell] = 1
        return cell

    def share(self, cells: npt.NDArray[np.int32]) -> None:
        """One more slot holds these cells."""
        self._holders[cells] += 1

    def leave(self, cells: npt.NDArray[np.int32]) -> None:
        """One slot less holds these cells; those that nobody holds are free."""
        self._holders[cells] -= 1
        gone = cells[self._holders[cells] == 0]
        self._free[self.free : self.free + len(gone)] = gone
        self.free += len(gone)


class Slot:
    """One sequence of the context: the tokens it holds, the adapters they were computed with, and who uses it."""

    def __init__(self, index: int, context: int, pool: CellPool | None = None) -> None:
        self.index = index
        self.length = 0
        self.conversation = ""
        self.adapters = ""
        self.leased = False
        self.used = 0
        self.leased_at = 0.0
        self.due: float | None = None  # when its conversation is expected to go on; None if nobody said
        self.target = 0
        self._buffer = np.empty(context, np.int32)
        self._pool = pool
        self._cells = np.empty(context if pool is not None else 0, np.int32)

    @property
    def tokens(self) -> Tokens:
        """The tokens whose KV is resident; shape (length,)."""
        return self._buffer[: self.length]

    def append(self, tokens: Sequence[int] | Tokens) -> None:
        """Note that the KV of `tokens` was computed or restored."""
        if len(tokens) == 1:  # as at each step of a decoder: a slice of one takes five times as long
            self._buffer[self.length] = tokens[0]
            if self._pool is not None:
                self._cells[self.length] = self._pool.take_one()
        else:
            end = self.length + len(tokens)
            self._buffer[self.length : end] = tokens
            if self._pool is not None:
                self._cells[self.length : end] = self._pool.take(len(tokens))
        self.length += len(tokens)

    def share(self, source: Slot, length: int) -> None:
        """Note that this slot, which is empty, got the first `length` tokens of `source`."""
        self._buffer[:length] = source.tokens[:length]
        if self._pool is not None:
            self._cells[:length] = source._cells[:length]
            self._pool.share(self._cells[:length])
        self.length = length

    def cut(self, length: int) -> None:
        """Note that only the first `length` tokens are left."""
        if self._pool is not None:
            self._pool.leave(self._cells[length : self.length])
        self.length = min(self.length, length)

    def wait(self, now: float) -> float:
        """Seconds until it is expected to be of use; to evict the longest wastes least (Belady, 1966).

        Where nobody said, or what was said has proved wrong, it is as long as the wait so far: the order of LRU.
        """
        return now - self.leased_at if self.due is None else abs(self.due - now)

    def __repr__(self) -> str:
        state = "leased" if self.leased else "parked" if self.length else "empty"
        owner = f" of {self.conversation}" if self.conversation else ""
        return f"<Slot {self.index} {state} {self.length} tokens{owner}>"
