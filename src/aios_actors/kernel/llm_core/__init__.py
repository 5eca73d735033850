"""The LLM core: generations on worker processes."""

from aios_actors.kernel.llm_core.core import LlmCore
from aios_actors.kernel.llm_core.messages import AwaitReady, ForgetAgent, ListWorkers, WorkerState

__all__ = ["AwaitReady", "ForgetAgent", "ListWorkers", "LlmCore", "WorkerState"]
