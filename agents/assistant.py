"""An agent that solves tasks with tools."""

from aios_actors import Agent


class Assistant(Agent):
    """You solve tasks with tools, one step at a time."""

    tools = ["calculator"]

    async def run(self, task: str) -> str:
        return await self.react(task)
