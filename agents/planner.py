"""An agent that hands the parts of a task to other agents. Whom it may ask is `delegates` in the config."""

from aios_actors import Agent


class Planner(Agent):
    """You are a planner. Hand each part to the right agent."""

    tools = ["agents.ask"]

    async def run(self, task: str) -> str:
        return await self.react(task)
