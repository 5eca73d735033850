"""How many threads llama.cpp gets: as many as there are CPUs that nothing else keeps busy.

Contract: `Threads.wanted` is asked before a decode call and looks at the CPUs' load at most twice a second. llama.cpp's
threads meet hundreds of times a step, so one that shares its CPU with a tool holds all others up. With two threads on
two CPUs, one of them taken by another process, 1, 4, 8 and 16 sequences of a 135M model decoded 36, 55, 73 and 90
tokens/s, and with one thread 58, 64, 86 and 104. Where the load cannot be read, it is always the most.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec import Struct

PERIOD_S = 0.5
"""How long the load is watched before it counts: the kernel counts in hundredths of a second."""
PAUSE_S = 0.1
"""After so long without a decode call the load is watched anew: what others did meanwhile says nothing about now."""
IGNORED = 0.4
"""CPUs' worth of other work that is borne: a node that hands tokens out takes a tenth or two."""


class Load(Struct, frozen=True):
    """CPU time so far in seconds: of all that ran on the `cpus` that this process may use, and of itself."""

    cpus: int
    busy: float
    own: float


def read_load() -> Load | None:
    """The load up to now; None where `/proc/stat` does not tell. Time that a hypervisor took counts as idle."""
    try:
        cpus = os.sched_getaffinity(0)
        ticks = _busy_ticks(Path("/proc/stat").read_text(), cpus)
        return Load(len(cpus), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())
    except (AttributeError, OSError, ValueError):
        return None


def _busy_ticks(stat: str, cpus: set[int]) -> int:
    """Ticks of user, nice, system, irq and softirq of these CPUs. Raises ValueError if one is missing."""
    ticks = {}
    for line in stat.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            user, nice, system, _idle, _iowait, irq, softirq = map(int, values[:7])
            ticks[int(name[3:])] = user + nice + system + irq + softirq
    if not cpus <= ticks.keys():
        raise ValueError("/proc/stat lacks a CPU")
    return sum(ticks[cpu] for cpu in cpus)


class Threads:
    """The number of threads from step to step; at least 1 and at most `most`."""

    def __init__(
        self, most: int, read: Callable[[], Load | None] = read_load, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`read` tells the load so far, `clock` the time in seconds."""
        self._most = most
        self._read = read
        self._clock = clock
        self._number = most
        self._since = -math.inf
        self._ended = -math.inf
        self._before: Load | None = None

    def wanted(self) -> int:
        """How many the decode call that now begins should have."""
        now = self._clock()
        if now - self._ended > PAUSE_S:
            self._since, self._before = now, self._read()
        elif now - self._since >= PERIOD_S:
            load, before = self._read(), self._before
            if load is not None and before is not None:
                others = (load.busy - before.busy - (load.own - before.own)) / (now - self._since)
                number = max(1, min(self._most, load.cpus - math.ceil(others - IGNORED)))
                if number != self._number:
                    structlog.get_logger("engine").debug("threads", number=number, others=round(others, 2))
                self._number = number
            self._since, self._before = now, load
        return self._number

    def ended(self) -> None:
        """The decode call is over."""
        self._ended = self._clock()
