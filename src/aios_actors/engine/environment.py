"""The variables of a worker's environment: how its threads wait, and how its memory is mapped.

Contract: pure. OpenMP and the C library read theirs when they are loaded, so whoever starts a worker passes them.
What the user has set already stays.
"""

from __future__ import annotations

from collections.abc import Mapping

BRIEF_SPINS = {"GOMP_SPINCOUNT": "1000"}
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def worker_environment(outer: Mapping[str, str]) -> dict[str, str]:
    """What to set beside `outer`, the environment of the process that starts a worker.

    llama.cpp's threads wait for each other briefly (some 30 microseconds), then sleep. They meet hundreds of times a
    step. With two threads on two cores (135M parameters, tokens/s for 1, 8 and 16 sequences) this reached 82, 168 and
    220, a third of it 70, 130 and 169, and sleeping at once 35, 131 and 182. But a node shares its machine with agents
    and tools, and a thread that spins longer waits for one that is not scheduled: beside one busy process it was 24, 71
    and 99, with ten times as long 10, 30 and 49, before `threads.py` takes one of them away.

    Memory comes in huge pages where Linux gives them on request: 24 sequences decoded 1 to 2 % faster with 135M
    parameters and a tenth with 3M, and weights that were read rather than mapped (`weights.py`) one sequence 3 to 8 %.
    """
    added: dict[str, str] = {}
    if not {"OMP_WAIT_POLICY", *BRIEF_SPINS} & outer.keys():
        added |= BRIEF_SPINS
    for name, tunable in HUGE_PAGES.items():
        present = outer.get(name, "")
        if tunable.split("=", 1)[0] not in present:
            added[name] = f"{present}:{tunable}" if present else tunable
    return added
