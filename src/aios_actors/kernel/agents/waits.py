"""Who waits for whom, and whether one more ask would be one that nobody could ever get to.

An agent that asks waits until the task is done: by the agent that works on it, or the one that was named, or any of a
kind. So a circle of waiting is found also where it leads through several agents of a kind that all wait.
"""

from collections import defaultdict
from collections.abc import Callable, Collection

from aios_actors.kernel.agents.pool import Assignment


class Waits:
    """The asks that agents made and that are not answered."""

    def __init__(self, members: Callable[[str], Collection[str]]) -> None:
        """`members`: names of the agents that a task for this name can go to."""
        self._members = members
        self._asks: defaultdict[str, list[Assignment]] = defaultdict(list)

    def add(self, assignment: Assignment) -> None:
        """Its asker waits for it."""
        asks = self._asks[assignment.asker]
        asks[:] = [each for each in asks if not each.reply.done]
        asks.append(assignment)

    def forget(self, agent: str) -> None:
        """The agent's task is over, and it waits for nobody."""
        self._asks.pop(agent, None)

    def circle(self, caller: str, target: str) -> tuple[str, ...]:
        """The way from one who could do a task back to the caller, if all of them wait for the caller; else ()."""
        return self._all_stuck(self._members(target), caller, ())

    def _all_stuck(self, agents: Collection[str], caller: str, path: tuple[str, ...]) -> tuple[str, ...]:
        way: tuple[str, ...] = ()
        for agent in agents:
            way = self._stuck(agent, caller, path)
            if not way:
                return ()
        return way

    def _stuck(self, agent: str, caller: str, path: tuple[str, ...]) -> tuple[str, ...]:
        """How an agent waits for the caller or for itself; () if it can get on."""
        if agent == caller or agent in path:
            return (*path, agent)
        for ask in self._asks.get(agent, ()):
            if ask.reply.done:
                continue
            who = (ask.worker,) if ask.worker else self._members(ask.target)
            if way := self._all_stuck(who, caller, (*path, agent)):
                return way
        return ()
