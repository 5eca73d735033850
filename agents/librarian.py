"""An agent that remembers facts. They are there after a restart of the node."""

from aios_actors import Agent


class Librarian(Agent):
    """You are a librarian who remembers facts."""

    tools = ["memory.add", "memory.search"]

    async def run(self, task: str) -> str:
        return await self.react(task)
