"""Fair shares by virtual token counters (VTC; Sheng et al., 2024, "Fairness in Serving Large Language Models")."""

from collections import Counter, defaultdict

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies.base import Policy
from aios_actors.kernel.scheduler.policies.ranking import Ranking
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class Fair(Policy):
    """The group that has got the least service for its weight goes next; within a group, first in, first out.

    A turn is counted when it begins, at what it can cost at most, and corrected when it is over: with many places, a
    group would else take all that are free. A group that comes back from idleness starts level with the least served
    of those that wait: idleness saves up nothing. Of two groups that always have calls waiting, neither is ever ahead
    of the other by more than what a turn can cost, and their turns under way.
    """

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        self._queues: dict[str, Ranking[Ticket]] = {}
        self._counters: defaultdict[str, float] = defaultdict(float)
        self._waiting: Ranking[str] = Ranking()
        self._expected: dict[int, float] = {}
        self._running: Counter[str] = Counter()
        self._last = 0.0
        self._size = 0

    def add(self, ticket: Ticket) -> None:
        group = ticket.group
        if group not in self._queues:
            self._queues[group] = Ranking()
            if not self._running[group]:
                least = self._waiting.first_key()
                self._counters[group] = max(self._counters[group], self._last if least is None else least)
            self._waiting.put(group, self._counters[group], group)
        self._queues[group].put(ticket.id, ticket.arrived, ticket)
        self._size += 1

    def remove(self, ticket: Ticket) -> bool:
        queue = self._queues.get(ticket.group)
        if queue is None or not queue.discard(ticket.id):
            return False
        self._size -= 1
        if not queue:
            del self._queues[ticket.group]
            self._waiting.discard(ticket.group)
        return True

    def next(self, now: float) -> Ticket | None:
        group = self._waiting.first()
        if group is None:
            return None
        ticket = self._queues[group].first()
        assert ticket is not None, "a group that waits has a call that waits"
        self.remove(ticket)
        self._last = self._counters[group]
        self._running[group] += 1
        prompt = 0.0 if ticket.generated else ticket.prompt_tokens * self.config.prompt_cost
        self._expected[ticket.id] = prompt + self.config.slice
        self._charge(ticket, self._expected[ticket.id])
        return ticket

    def slice(self, ticket: Ticket) -> int:
        return self.config.slice

    def served(self, ticket: Ticket, cost: float | None) -> None:
        """Corrects what the turn was counted as. One that began under another policy was not counted yet."""
        expected = self._expected.pop(ticket.id, None)
        if expected is not None:
            self._running[ticket.group] -= 1
        if cost is not None:
            self._charge(ticket, cost - (expected or 0.0))

    def _charge(self, ticket: Ticket, cost: float) -> None:
        self._counters[ticket.group] += cost / ticket.weight
        if ticket.group in self._queues:
            self._waiting.put(ticket.group, self._counters[ticket.group], ticket.group)

    def __len__(self) -> int:
        return self._size
