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
        self.size = 0
        self.outputs = 0
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        self._sequences = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        # Every token belongs to exactly one sequence, so its list of ids is one element of a plain array.
        first = self._sequences.ctypes.data
        self._lists = np.arange(first, first + 4 * capacity, 4, dtype=np.uintp)
        self.raw = llama_cpp.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._lists, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    def clear(self) -> None:
        """Start an empty batch."""
        self.size = self.outputs = self.raw.n_tokens = 0

    def add(self, sequence: int, tokens: Sequence[int], position: int, *, outputs: int) -> None:
        """Append `tokens` of `sequence` from `position` on; asks for the logits after each of the last `outputs`."""
        start, end = self.size, self.size + len(tokens)
        self._tokens[start:end] = tokens
        self._positions[start:end] = np.arange(position, position + len(tokens))
        self._sequences[start:end] = sequence
        self._wanted[start:end] = 0
        self._wanted[end - outputs : end] = 1
        self.outputs += outputs
        self.size = self.raw.n_tokens = end


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
