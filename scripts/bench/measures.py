"""The statistics that benchmarks report: percentiles, Jain's index, goodness of a line, resident memory.

Contract: pure functions of plain numbers, apart from `resident_bytes`. An empty sample gives nan, never an error, so
that a run in which nothing succeeded still prints its table.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from aios_actors.kernel.scheduler import simulator


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean."""
    sample = list(values)
    return math.fsum(sample) / len(sample) if sample else math.nan


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that is not below `share` (0 to 1) of all: the nearest-rank definition."""
    sample = sorted(values)
    return sample[max(math.ceil(share * len(sample)), 1) - 1] if sample else math.nan


def jain(values: Iterable[float]) -> float:
    """Jain's fairness index (Jain, Chiu, Hawe 1984): 1 if all are equal, 1/n if one has all."""
    sample = list(values)
    return simulator.jain(sample) if any(sample) else math.nan


def r_squared(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The share of the variance of `ys` that the least-squares line over `xs` explains."""
    mx, my = mean(xs), mean(ys)
    xx = math.fsum((x - mx) ** 2 for x in xs)
    yy = math.fsum((y - my) ** 2 for y in ys)
    xy = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return xy * xy / (xx * yy) if xx and yy else math.nan


def resident_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process now, as Linux tells it; 0 where it does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
    return int(found[1]) * 1024 if found else 0
