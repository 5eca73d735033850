"""By priority, with ageing."""

from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class Priority(Ranked):
    """Higher priority first, and at once: it takes the place of a running call that is less urgent.

    Each `ageing_s` of waiting count as one level, so that nothing starves: a call waits for later ones that are n
    levels above it only while they come within n times `ageing_s` after it. All calls age at the same pace, so their
    order never changes, and the key needs no clock.
    """

    preempts = True

    def key(self, ticket: Ticket) -> float:
        return ticket.arrived - ticket.priority * self.config.ageing_s

    def urgency(self, ticket: Ticket) -> int:
        return ticket.priority
