"""Least attained service by program, as in Autellix (Luo et al., 2025), whose name for it is PLAS."""

from collections import defaultdict

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.levels import delay, level, room
from aios_actors.kernel.scheduler.policies.ticket import Program, Ticket


class LeastAttained(Ranked):
    """Calls of the program that has got the least service go first: short tasks end soon, however many calls they make.

    A program is a task with all that it causes, over all agents and models that take part. Service is counted in
    levels, see `levels`: within one the order is that of arrival, so programs of like size do not take turns for
    nothing. A call of a program of a lower level takes a place at once.
    """

    preempts = True

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        self._of: defaultdict[Program, dict[int, Ticket]] = defaultdict(dict)

    def key(self, ticket: Ticket) -> float:
        return ticket.queued + delay(level(ticket.program.attained, self.config), self.config)

    def slice(self, ticket: Ticket) -> int:
        return room(ticket.program.attained, self.config)

    def add(self, ticket: Ticket) -> None:
        super().add(ticket)
        self._of[ticket.program][ticket.id] = ticket

    def remove(self, ticket: Ticket) -> bool:
        calls = self._of.get(ticket.program, {})
        calls.pop(ticket.id, None)
        if not calls:
            self._of.pop(ticket.program, None)
        return super().remove(ticket)

    def served(self, ticket: Ticket, cost: float | None) -> None:
        """The program has got more, so its waiting calls go down."""
        for waiting in self._of.get(ticket.program, {}).values():
            super().add(waiting)
