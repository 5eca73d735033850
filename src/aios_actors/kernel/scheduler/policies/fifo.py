"""First in, first out."""

from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class Fifo(Ranked):
    """In order of arrival, each call to its end. One whose worker died is among the first again."""

    def key(self, ticket: Ticket) -> float:
        return ticket.arrived
