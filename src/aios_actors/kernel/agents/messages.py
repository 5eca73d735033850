"""What the node asks of the agent host, and what an agent is made from. Internal to the kernel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from aios_actors.actors import Actor, Message
from aios_actors.config.structs import AgentConfig
from aios_actors.kernel.accounts import Account


@dataclass(frozen=True, slots=True)
class AgentKind:
    """A config entry with its class: what the host makes agents from.

    Attributes:
        name: the entry's name.
        config: the entry.
        make: makes the actor of the agent whose name it is given.
        description: first line of the class's docstring.
        tools: names and patterns of the tools that its agents may call.
    """

    name: str
    config: AgentConfig
    make: Callable[[str], Actor]
    description: str
    tools: tuple[str, ...]


class Finished(msgspec.Struct, frozen=True):
    """How a task of the run ended: `error` is "" if there is an answer. `agent` is who did it."""

    agent: str
    answer: Any
    error: str
    account: Account


class RunTask(Message[Finished], frozen=True):
    """Task number `task` of the run, for an agent of this kind."""

    task: int
    kind: str
    input: str


class RefuseTasks(Message[None], frozen=True):
    """Answer all tasks that no agent has begun with NodeStopping, and take no more."""


class EndTasks(Message[None], frozen=True):
    """Answer all tasks that run with NodeStopping, and stop the agents' work on them."""
