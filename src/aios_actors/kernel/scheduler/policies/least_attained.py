"""Least attained service by program, as in Autellix (Luo et al., 2025), whose name for it is PLAS."""

from collections.abc import Iterable

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies.base import Policy
from aios_actors.kernel.scheduler.policies.levels import delay, level, room
from aios_actors.kernel.scheduler.policies.ranking import Ranking
from aios_actors.kernel.scheduler.policies.ticket import Program, Ticket


class LeastAttained(Policy):
    """Calls of the program that has got the least service go first: short tasks end soon, however many calls they make.

    A program is a task with all that it causes, over all agents and models that take part. Service is counted in
    levels, see `levels`: within one the order is that of arrival, so programs of like size do not take turns for
    nothing. A call of a program of a lower level takes a place at once. Programs are ranked, and not their calls, so
    that one which has thousands of them waiting moves down in one step.
    """

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        self._programs: Ranking[Program] = Ranking()
        self._calls: dict[Program, Ranking[Ticket]] = {}
        self._size = 0

    def add(self, ticket: Ticket) -> None:
        self._calls.setdefault(ticket.program, Ranking()).put(ticket.id, ticket.queued, ticket)
        self._size += 1
        self._rank(ticket.program)

    def remove(self, ticket: Ticket) -> bool:
        calls = self._calls.get(ticket.program)
        if calls is None or not calls.discard(ticket.id):
            return False
        self._size -= 1
        self._rank(ticket.program)
        return True

    def next(self, now: float) -> Ticket | None:
        program = self._programs.first()
        ticket = None if program is None else self._calls[program].first()
        if ticket is not None:
            self.remove(ticket)
        return ticket

    def slice(self, ticket: Ticket) -> int:
        return room(ticket.program.attained, self.config)

    def served(self, ticket: Ticket, cost: float | None) -> None:
        """The program has got more, so its waiting calls go down."""
        self._rank(ticket.program)

    def victim(self, running: Iterable[Ticket]) -> Ticket | None:
        first, last = self._programs.first_key(), max(running, key=self._key, default=None)
        return last if first is not None and last is not None and self._key(last) > first else None

    def _key(self, ticket: Ticket) -> float:
        return ticket.queued + delay(level(ticket.program.attained, self.config), self.config)

    def _rank(self, program: Program) -> None:
        """Puts a program where its first call belongs."""
        first = self._calls[program].first() if program in self._calls else None
        if first is None:
            self._calls.pop(program, None)
            self._programs.discard(program)
        else:
            self._programs.put(program, self._key(first), program)

    def __len__(self) -> int:
        return self._size
