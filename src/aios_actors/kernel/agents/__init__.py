"""The agent host: agents as supervised actors."""

from aios_actors.kernel.agents.host import AgentHost
from aios_actors.kernel.agents.messages import AgentKind, EndTasks, Finished, Kill, Pause, RefuseTasks, Resume, RunTask

__all__ = ["AgentHost", "AgentKind", "EndTasks", "Finished", "Kill", "Pause", "RefuseTasks", "Resume", "RunTask"]
