"""Syscalls about agents: hand one a task, make one, see who there is."""

from typing import Any, ClassVar

import msgspec

from aios_actors.syscalls.base import Syscall


class AgentInfo(msgspec.Struct, frozen=True):
    """An agent as others see it.

    Attributes:
        name: its name, which is its identity in the node.
        description: the first line of its class's docstring.
        state: "idle", "running" or "dead".
        parent: name of the agent that made it, or "" for one from the config.
    """

    name: str
    description: str
    state: str
    parent: str = ""


class AskAgent(Syscall[Any], frozen=True):
    """Hand a task to another agent. Reply: what its `run` returned.

    The journal sets `number`: which of the caller's syscalls this is, from 1 on.

    Errors: NotFound, AccessDenied, AgentFailed (its code raised), WaitCycle (it waits for the caller).
    """

    verb: ClassVar[str] = "agents.ask"
    agent: str
    task: Any
    number: int = 0

    def resource(self) -> str:
        return self.agent


class SpawnAgent(Syscall[str], frozen=True):
    """Make an agent of the config entry `kind`. Reply: its name. It ends with its parent.

    The maker may ask it; it has no more rights than its config entry gives it. The journal sets `name` to what it was
    called in the run that goes on. Errors: NotFound.
    """

    verb: ClassVar[str] = "agents.spawn"
    kind: str
    name: str = ""

    def resource(self) -> str:
        return self.kind


class ListAgents(Syscall[tuple[AgentInfo, ...]], frozen=True):
    """The agents that the caller may ask."""

    verb: ClassVar[str] = "agents.list"


class Perform(Syscall[Any], frozen=True):
    """From the kernel to an agent: do this task. Reply: what its `run` returned."""

    verb: ClassVar[str] = "agents.perform"
    task: Any
