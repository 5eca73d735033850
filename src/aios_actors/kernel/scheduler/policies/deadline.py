"""Earliest deadline first, with admission control (Liu and Layland, 1973)."""

from collections import OrderedDict

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies.base import Ranked
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class Deadline(Ranked):
    """The call whose deadline is next runs next, and takes the place of one whose deadline is later.

    A call that would miss its deadline behind those that go before it is refused when it comes. One that missed it in
    the line, which it could not know, stays there and runs when no other waits: to run it first would only make others
    late too. Calls without a deadline come after those with one, in order of arrival.
    """

    preempts = True

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        self._late: OrderedDict[int, Ticket] = OrderedDict()

    def key(self, ticket: Ticket) -> tuple[float, float]:
        return ticket.deadline, ticket.arrived

    def admits(self, ticket: Ticket, end: float) -> bool:
        return end <= ticket.deadline

    def remove(self, ticket: Ticket) -> bool:
        return self._late.pop(ticket.id, None) is not None or super().remove(ticket)

    def next(self, now: float) -> Ticket | None:
        while (first := self._waiting.first()) is not None and first.deadline < now:
            super().remove(first)
            self._late[first.id] = first
        if first is None and self._late:
            return self._late.popitem(last=False)[1]
        return super().next(now)

    def __len__(self) -> int:
        return len(self._late) + len(self._waiting)
