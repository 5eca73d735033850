"""Earliest deadline first, with admission control (Liu and Layland, 1973)."""

import math

from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.ticket import Ticket

PATIENCE = 10.0
"""Calls without a deadline are ranked as if they had one this many times `ageing_s` after they came."""


class Deadline(Ranked):
    """The call whose deadline is next runs next, and takes the place of one whose deadline is later.

    A call that would miss its deadline behind those that go before it is refused when it comes. One that misses it in
    the line, which could not be known, is ranked among those without a deadline from then on: to run it first would
    only make others late too.
    """

    preempts = True

    def key(self, ticket: Ticket) -> float:
        if ticket.deadline == math.inf:
            return ticket.arrived + PATIENCE * self.config.ageing_s
        return ticket.deadline

    def admits(self, ticket: Ticket, end: float) -> bool:
        return end <= ticket.deadline

    def next(self, now: float) -> Ticket | None:
        while (first := self._waiting.first()) is not None and first.deadline < now:
            first.deadline = math.inf
            self.add(first)
        return super().next(now)
