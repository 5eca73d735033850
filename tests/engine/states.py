"""Small states in llama.cpp's layout, for tests without a context: the KV of a token is the token itself."""

from __future__ import annotations

import struct

import numpy as np


def make_state(tokens: list[int], first: int = 0) -> memoryview:
    """A state of one layer whose cells hold `tokens` from position `first` on."""
    cells = b"".join(struct.pack("<iIi", first + i, 1, 0) for i in range(len(tokens)))
    matrix = struct.pack("<iQ", 0, 4) + np.array(tokens, np.int32).tobytes()
    head = struct.pack("<IiI", 0xAF143CD8, 0, 1) + struct.pack("<I", len(tokens))
    return memoryview(head + cells + struct.pack("<II", 0, 1) + matrix + matrix)


def read_state(state: memoryview) -> list[int]:
    """The tokens of a state of `make_state`."""
    (count,) = struct.unpack_from("<I", state, 12)
    tokens: list[int] = np.frombuffer(state, np.int32, count, 16 + 12 * count + 8 + 12).tolist()
    return tokens
