"""A scheduling policy of one's own. To use it: `policy = "agents.policies:Lottery"` in `[scheduler]` of the config."""

import random

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies import Policy, Ticket


class Lottery(Policy):
    """Draws who is next; an agent's `weight` is how many lots it has (Waldspurger and Weihl, 1994)."""

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        self._waiting: dict[int, Ticket] = {}
        self._draw = random.Random(0)

    def add(self, ticket: Ticket) -> None:
        self._waiting[ticket.id] = ticket

    def remove(self, ticket: Ticket) -> bool:
        return self._waiting.pop(ticket.id, None) is not None

    def next(self, now: float) -> Ticket | None:
        tickets = list(self._waiting.values())
        if not tickets:
            return None
        (winner,) = self._draw.choices(tickets, [ticket.weight for ticket in tickets])
        return self._waiting.pop(winner.id)

    def slice(self, ticket: Ticket) -> int:
        return self.config.slice

    def __len__(self) -> int:
        return len(self._waiting)
