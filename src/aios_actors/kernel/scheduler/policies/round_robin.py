"""Round robin by token slices."""

from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class RoundRobin(Ranked):
    """In turn: a call that used up its slice goes to the back of the line."""

    def key(self, ticket: Ticket) -> float:
        return ticket.queued

    def slice(self, ticket: Ticket) -> int:
        return self.config.slice
