"""Whether a worker maps its model's weights or reads them into memory of its own, where the config does not say.

Contract: pure. Mapped weights cost no memory of the worker and are there at once, but lie in the small pages of the
file cache, in whatever order these came to be; memory of its own is in huge ones (`environment.py`). Measured on two
cores, the time of a step where weights are read, of that where they are mapped, for one sequence and for eight: 0.91
and 0.97 (135M parameters), 0.97 and 0.99 (0.5B), 0.97 and 1.00 (1B, a file just written), 0.81 and 0.92 (1B, a file
cached in scattered pages). Reading takes a second for each GB.
"""

from __future__ import annotations

from aios_actors.engine.gguf import GgufHeader
from aios_actors.engine.machine import memory_bytes

# Several workers may do so, and the file's own pages stay cached as long as there is room.
_SHARE = 0.125


def maps_weights(mmap: bool | None, header: GgufHeader, memory: int | None = None) -> bool:
    """Whether a worker on the CPU maps these weights; else it reads them.

    It reads what is one file, and small beside the machine's memory.

    Args:
        mmap: what the config says, if it does.
        header: of the model's file, or of the first one.
        memory: of the machine, in bytes; None asks the operating system.
    """
    if mmap is not None:
        return mmap
    available = memory_bytes() if memory is None else memory
    return header.parts > 1 or header.tensor_bytes > _SHARE * available
