"""The LLM core: generations on worker processes."""

from aios_actors.kernel.llm_core.core import LlmCore
from aios_actors.kernel.llm_core.messages import AwaitReady, ListWorkers, WorkerState

__all__ = ["AwaitReady", "ListWorkers", "LlmCore", "WorkerState"]
