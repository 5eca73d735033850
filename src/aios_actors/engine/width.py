"""How many generations run at the same time where the config does not say.

Contract: pure. A batch of many sequences reads the weights once for all of them and meets at llama.cpp's barriers as
often as a batch of one, so more is faster, up to a point; each sequence needs KV cells of its own. Measured with 135M
parameters on two CPU cores, 256 tokens of context each: 96 tokens/s for 1, 122 for 4, 184 for 8, 243 for 16, and no
more for 32.
"""

from __future__ import annotations

import os

GPU_SEQUENCES = 32
CPU_SEQUENCES, FEWER_CPU_SEQUENCES = 16, 8
# The KV cache of a model whose context is long may take this share of the machine's memory before there are fewer.
_SHARE = 0.25


def cpu_sequences(kv_bytes: int, memory: int | None = None) -> int:
    """How many sequences a worker on the CPU has.

    Args:
        kv_bytes: of the KV cache of one sequence, as f16.
        memory: of the machine, in bytes; None asks the operating system.
    """
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if memory is None else memory
    return CPU_SEQUENCES if CPU_SEQUENCES * kv_bytes <= _SHARE * available else FEWER_CPU_SEQUENCES
