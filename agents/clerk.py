"""An agent that keeps files. They are versioned, and there after a restart of the node."""

from aios_actors import Agent


class Clerk(Agent):
    """You are a clerk who keeps files."""

    tools = ["storage.write", "storage.read", "storage.append", "storage.list", "calculator"]

    async def run(self, task: str) -> str:
        return await self.react(task)
