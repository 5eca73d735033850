"""Scheduling policies, by the name that the config gives them."""

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies.base import Policy
from aios_actors.kernel.scheduler.policies.fifo import Fifo
from aios_actors.kernel.scheduler.policies.round_robin import RoundRobin

__all__ = ["Fifo", "Policy", "RoundRobin", "make_policy"]


def make_policy(config: SchedulerConfig) -> Policy:
    """A fresh policy as the config says."""
    match config.policy:
        case "fifo":
            return Fifo()
        case "round_robin":
            return RoundRobin(config.slice)
