"""The batch of one decode call, filled through numpy arrays that llama.cpp reads.

Contract: `Batch` is a `llama_batch` of fixed capacity over memory of its own. `clear`, then `add` runs of tokens, then
decode `raw`. The rows of the logits come in the order in which outputs were asked for. Runs are added in ascending
order of sequence: with split streams llama.cpp computes only neighbouring sequences together.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt


class Batch:
    """Tokens of several sequences for one `llama_decode`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.outputs = 0
        # Runs are mostly one token long: lists grow by them in a tenth of the time that slices of arrays take.
        self._runs: tuple[list[int], ...] = ([], [], [], [])
        arrays = [np.zeros(capacity, kind) for kind in (np.int32, np.int32, np.int32, np.int8)]
        self._arrays = tokens, positions, sequences, wanted = arrays
        self._counts = np.ones(capacity, np.int32)
        # Every token belongs to exactly one sequence, so its list of ids is one element of a plain array.
        first = sequences.ctypes.data
        self._lists = np.arange(first, first + 4 * capacity, 4, dtype=np.uintp)
        self._raw = llama_cpp.llama_batch(
            n_tokens=0,
            token=_pointer(tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._lists, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(wanted, ctypes.c_int8),
        )

    @property
    def size(self) -> int:
        """The number of tokens in it."""
        return len(self._runs[0])

    @property
    def raw(self) -> llama_cpp.llama_batch:
        """What `llama_decode` takes; valid until the next `add`, `clear` or `raw`."""
        self._raw.n_tokens = size = self.size
        for array, values in zip(self._arrays, self._runs, strict=True):
            array[:size] = values
        return self._raw

    def clear(self) -> None:
        """Start an empty batch."""
        self.outputs = 0
        for values in self._runs:
            values.clear()

    def add(self, sequence: int, tokens: Sequence[int], position: int, *, outputs: int) -> None:
        """Append `tokens` of `sequence` from `position` on; asks for the logits after each of the last `outputs`."""
        count = len(tokens)
        every, positions, sequences, wanted = self._runs
        every += tokens
        positions += range(position, position + count)
        sequences += [sequence] * count
        wanted += [0] * (count - outputs) + [1] * outputs
        self.outputs += outputs


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
