"""The smallest agent: one question to the model. Copy this file to begin with."""

from aios_actors import Agent


class Minimal(Agent):
    """You answer questions."""

    async def run(self, task: str) -> str:
        return await self.llm.ask(task)
