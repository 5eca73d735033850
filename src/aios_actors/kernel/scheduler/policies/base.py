"""What a scheduling policy is: a queue with an opinion. Policies are pure: no actors, no model, and no clock but `now`.

To write one, derive from `Ranked` and say in `key` what comes first; or from `Policy`, and keep the queue yourself.
Name it in the config as `policy = "my_module:MyPolicy"`. The simulator runs it on any trace, see
`kernel.scheduler.simulator`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies.ranking import Ranking
from aios_actors.kernel.scheduler.policies.ticket import Ticket


class Policy(ABC):
    """Chooses which waiting LLM call of one model runs next."""

    def __init__(self, config: SchedulerConfig) -> None:
        """`config`: slice, ageing and costs."""
        self.config = config

    @abstractmethod
    def add(self, ticket: Ticket) -> None:
        """A call joins the line: it is new, or its turn is over, or its worker died (then `queued` is as it was)."""

    @abstractmethod
    def remove(self, ticket: Ticket) -> bool:
        """A waiting call is cancelled. False if it does not wait here."""

    @abstractmethod
    def next(self, now: float) -> Ticket | None:
        """Takes out the call that gets the free place; None if none waits."""

    @abstractmethod
    def __len__(self) -> int:
        """How many wait."""

    def slice(self, ticket: Ticket) -> int:
        """Tokens that a call which got a place may generate before its turn is over; 0 lets it run to its end."""
        return 0

    def served(self, ticket: Ticket, cost: float | None) -> None:  # noqa: B027  (most policies need not know)
        """A turn is over and cost this much, in generated tokens; None if that is unknown (cancelled, worker lost)."""

    def victim(self, running: Iterable[Ticket]) -> Ticket | None:
        """Which running call is to make room at once for the first waiting one; None if none is."""
        return None

    def urgency(self, ticket: Ticket) -> int:
        """How urgent a call is on its worker, beside others there; higher is more.

        A worker computes the most urgent prompts first, and one that is more urgent than all that it generates at once.
        """
        return 0

    def ahead(self, ticket: Ticket) -> int:
        """How many waiting calls would get a place before this one, if it joined now."""
        return len(self)

    def admits(self, ticket: Ticket, end: float) -> bool:
        """Whether a new call may join the line. `end`: when it would be answered, as far as one can tell."""
        return True


class Ranked(Policy):
    """A policy that is an order: the waiting call with the lowest key runs next.

    Class attributes:
        preempts: whether a call takes the place of a running one that has a higher key.
    """

    preempts: ClassVar[bool] = False

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        self._waiting: Ranking[Ticket] = Ranking()

    @abstractmethod
    def key(self, ticket: Ticket) -> Any:
        """What comes first: keys are compared, and lower is sooner. It may not change while the ticket waits."""

    def add(self, ticket: Ticket) -> None:
        self._waiting.put(ticket.id, self.key(ticket), ticket)

    def remove(self, ticket: Ticket) -> bool:
        return self._waiting.discard(ticket.id)

    def next(self, now: float) -> Ticket | None:
        ticket = self._waiting.first()
        if ticket is not None:
            self.remove(ticket)
        return ticket

    def victim(self, running: Iterable[Ticket]) -> Ticket | None:
        first = self._waiting.first_key()
        if not self.preempts or first is None:
            return None
        last = max(running, key=self.key, default=None)
        return last if last is not None and self.key(last) > first else None

    def ahead(self, ticket: Ticket) -> int:
        return self._waiting.before(self.key(ticket))

    def __len__(self) -> int:
        return len(self._waiting)
