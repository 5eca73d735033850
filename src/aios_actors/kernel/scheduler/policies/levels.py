"""Levels of service: level 0 is the first slice, level n the slices from 2^(n-1) to 2^n. For the multi-level policies.

A level costs 2^n - 1 times `ageing_s` in the line, which is how much later calls of level 0 may come and still go
first: what has had much waits long, and nothing waits for ever.
"""

import math

from aios_actors.config.structs import SchedulerConfig


def level(cost: float, config: SchedulerConfig) -> int:
    """The level after service of this cost, in generated tokens."""
    return int(cost // config.slice).bit_length()


def delay(level: int, config: SchedulerConfig) -> float:
    """Seconds that a level costs in the line."""
    return float(2**level - 1) * config.ageing_s


def room(cost: float, config: SchedulerConfig) -> int:
    """Tokens that lead from service of this cost to the next level."""
    end: int = config.slice * 2 ** level(cost, config)
    return max(math.ceil(end - cost), 1)
