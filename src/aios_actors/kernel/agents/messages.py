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
    """How a task of the run ended: `error` is "" if there is an answer. `agent` is who did it.

    A task whose end is not `final` can be gone on with: the node stopped, or the agent's code differs from the journal.
    """

    agent: str
    answer: Any
    error: str
    account: Account
    final: bool = True


class RunTask(Message[Finished], frozen=True):
    """Task number `task` of the run, for an agent of this kind."""

    task: int
    kind: str
    input: str


class Pause(Message[None], frozen=True):
    """Let an agent and those that it made stand still; "" is all. Answered when none of their generations runs.

    Errors: NotFound.
    """

    agent: str = ""


class Resume(Message[None], frozen=True):
    """Let paused agents go on; "" is all. One that is not paused is no error. Errors: NotFound."""

    agent: str = ""


class Kill(Message[None], frozen=True):
    """End what an agent does, with those that it made; "" is the whole run, the tasks that wait included.

    Who waits for it gets AgentKilled. An agent of the config is made anew and takes the next task. Errors: NotFound.
    """

    agent: str = ""


class OutOfTime(Message[None], frozen=True):
    """From the host's own timer: see whether the seconds of an agent's task are over."""

    agent: str


class RefuseTasks(Message[None], frozen=True):
    """Answer all tasks that no agent has begun with NodeStopping, and take no more."""


class EndTasks(Message[None], frozen=True):
    """Answer all tasks that run with NodeStopping, and stop the agents' work on them."""
