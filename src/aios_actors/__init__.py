"""aios_actors: an operating system for LLM agents, built of asyncio actors over llama.cpp.

    from aios_actors import Agent, tool

    class Assistant(Agent):
        "You solve tasks with tools, one step at a time."
        tools = ["calculator"]

        async def run(self, task: str) -> str:
            return await self.react(task)
"""

from aios_actors.sdk import Agent, tool

__all__ = ["Agent", "tool"]
