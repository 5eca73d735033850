"""How many generations run at the same time where the config does not say, and how many conversations have a place.

Contract: pure. A batch of many sequences reads the weights once for all of them and meets at llama.cpp's barriers as
often as a batch of one, so more is faster, up to a point; each sequence needs KV cells of its own. Measured with 135M
parameters on two CPU cores, 600 tokens of context each: 94 tokens/s for 1, 181 for 8, 226 for 16, 238 for 24, 245 for
32. Some of those that run are always being prefilled, so 24 keep about 16 decoding.
"""

from __future__ import annotations

from aios_actors.engine.machine import memory_bytes

GPU_SEQUENCES = 32
CPU_SEQUENCES = 24, 16, 8
# Where sequences share cells, so many conversations for each that runs may stay in the cache, as far as cells go:
# agents wait for their tools most of the time, and llama.cpp counts up to 256 sequences.
_PLACES, _MOST_PLACES = 4, 256
# The KV cache of a model whose context is long may take this share of the machine's memory before there are fewer.
_SHARE = 0.25


def cpu_sequences(kv_bytes: int, memory: int | None = None) -> int:
    """How many sequences a worker on the CPU has: as many of `CPU_SEQUENCES` as there is memory for, at least the last.

    Args:
        kv_bytes: of the KV cache of one sequence, as f16.
        memory: of the machine, in bytes; None asks the operating system.
    """
    available = memory_bytes() if memory is None else memory
    return next((n for n in CPU_SEQUENCES if n * kv_bytes <= _SHARE * available), CPU_SEQUENCES[-1])


def places(sequences: int) -> int:
    """How many conversations have a place in cells that all share, if so many sequences run at once."""
    return max(min(_PLACES * sequences, _MOST_PLACES), sequences)
