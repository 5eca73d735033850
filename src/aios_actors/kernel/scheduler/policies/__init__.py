"""Scheduling policies, by the name that the config gives them: one of the built-in ones, or `module:Class`."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from aios_actors.kernel.scheduler.policies.base import Policy, Ranked
from aios_actors.kernel.scheduler.policies.deadline import Deadline
from aios_actors.kernel.scheduler.policies.fair import Fair
from aios_actors.kernel.scheduler.policies.fifo import Fifo
from aios_actors.kernel.scheduler.policies.least_attained import LeastAttained
from aios_actors.kernel.scheduler.policies.mlfq import Mlfq
from aios_actors.kernel.scheduler.policies.priority import Priority
from aios_actors.kernel.scheduler.policies.round_robin import RoundRobin
from aios_actors.kernel.scheduler.policies.ticket import Program, Ticket

__all__ = ["POLICIES", "Policy", "Program", "Ranked", "Ticket", "UnknownPolicy", "find_policy"]

POLICIES: Mapping[str, type[Policy]] = MappingProxyType(
    {
        "fifo": Fifo,
        "round_robin": RoundRobin,
        "priority": Priority,
        "fair": Fair,
        "mlfq": Mlfq,
        "least_attained": LeastAttained,
        "deadline": Deadline,
    }
)
"""The built-in policies."""


class UnknownPolicy(Exception):
    """Raised when a name stands for no policy; the message says why and what to write instead."""


def find_policy(name: str) -> type[Policy]:
    """The policy that a name stands for.

    Args:
        name: of a built-in policy, or `module:Class` of a class that derives from `Policy`.

    Raises:
        UnknownPolicy: there is no such policy.
        ImportError: there is no such module, or another one that it imports.
    """
    if name in POLICIES:
        return POLICIES[name]
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UnknownPolicy(f'"{name}" is no policy; there are {", ".join(POLICIES)}, and "module:Class" for your own')
    found = getattr(importlib.import_module(module), attribute, None)
    if not (isinstance(found, type) and issubclass(found, Policy)):
        raise UnknownPolicy(
            f'"{name}" is no policy; make it a class that derives from Policy or Ranked of '
            "aios_actors.kernel.scheduler.policies"
        )
    if abstract := getattr(found, "__abstractmethods__", None):
        raise UnknownPolicy(f'"{name}" lacks {", ".join(sorted(abstract))}; a policy has to define it')
    return found
