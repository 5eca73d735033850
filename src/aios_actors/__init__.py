"""aios_actors: an operating system for LLM agents, built of asyncio actors over llama.cpp.

    from aios_actors import Agent, tool

    class Assistant(Agent):
        "You solve tasks with tools, one step at a time."
        tools = ["calculator"]

        async def run(self, task: str) -> str:
            return await self.react(task)

`Agent` and `tool` are loaded when they are first used, so that `aios_actors.actors` alone stays a small import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aios_actors.sdk import Agent, tool

__all__ = ["Agent", "tool"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from aios_actors import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
