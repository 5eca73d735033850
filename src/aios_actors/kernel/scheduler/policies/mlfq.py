"""Skip-join multi-level feedback queues, as in FastServe (Wu et al., 2023, "Fast Distributed Inference Serving")."""

from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.levels import delay, level, room
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class Mlfq(Ranked):
    """Calls that have had little go before those that have had more, without knowing how long each will be.

    A call with a long prompt skips the levels whose whole slice its prefill would take. One that has used up its
    level's slice goes a level down, where slices are twice as long. A call of a higher level takes the place of one
    of a lower level at once. FastServe lifts what has waited too long to the top; here a level is a delay, see
    `levels`, so that waiting makes up for it bit by bit.
    """

    preempts = True

    def key(self, ticket: Ticket) -> float:
        return ticket.queued + delay(level(self._cost(ticket), self.config), self.config)

    def slice(self, ticket: Ticket) -> int:
        return room(self._cost(ticket), self.config)

    def _cost(self, ticket: Ticket) -> float:
        return ticket.prompt_tokens * self.config.prompt_cost + ticket.generated
