"""The line before one model: who waits, who has a place, and when a running call has to make room. Pure, like policies.

Contract: a ticket joins, takes a place, and its turn ends in `back`, `end` or `leave`; each tells the policy what the
turn cost. At most one running call at a time is asked to make room: its place goes to the first that waits, and if
the next one is urgent as well, it is its turn then.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies import Policy, Ticket

FADING = 0.95
"""Weight of what was known before in the mean time of a call, so that it follows the last 20 or so."""


@dataclass(slots=True)
class Turn:
    """What a worker did in one turn of a call: tokens of the prompt, those of them from its cache, and generated."""

    prompt: int
    cached: int
    generated: int


@dataclass(slots=True)
class Served:
    """What a policy has done: calls that ended under it, their times in all, and turns that it ended before."""

    calls: int = 0
    waiting_s: float = 0.0
    turnaround_s: float = 0.0
    preemptions: int = 0


@dataclass(slots=True)
class Line:
    """One model's waiting and running calls.

    Attributes:
        config: costs of tokens.
        policy: holds the waiting calls and chooses among them.
        places: calls that the model's workers can run at the same time.
        running: the calls that have a place, by id.
        leaving: id of the one that was asked to make room; None if none was.
        service_s: mean seconds that a call has a place, over all its turns; 0 while none has ended.
        name: the policy's, in the config.
        served: what each policy has done, by name.
        error: why there will never be a place; "" while there may.
    """

    config: SchedulerConfig
    policy: Policy
    places: int = 0
    running: dict[int, Ticket] = field(default_factory=dict)
    leaving: int | None = None
    service_s: float = 0.0
    name: str = ""
    served: defaultdict[str, Served] = field(default_factory=lambda: defaultdict(Served))
    error: str = ""

    def take(self, now: float) -> Ticket | None:
        """The next call, if there is a place for it; it then holds the place."""
        if len(self.running) >= self.places:
            return None
        ticket = self.policy.next(now)
        if ticket is not None:
            if ticket.waits_since is not None:
                ticket.waited += now - ticket.waits_since
            ticket.waits_since, ticket.began = None, now
            self.running[ticket.id] = ticket
        return ticket

    def urge(self) -> Ticket | None:
        """The running call that is to make room now for the first waiting one, if any; it is named once."""
        if self.leaving is not None or len(self.running) < self.places:
            return None
        victim = self.policy.victim(self.running.values())
        if victim is not None:
            self.leaving = victim.id
        return victim

    def back(self, ticket: Ticket, now: float, turn: Turn | None, *, lost: bool = False) -> None:
        """The call's turn is over, or its worker was lost, and it waits again."""
        self._end_turn(ticket, now, turn)
        ticket.waits_since = now
        if not lost:
            ticket.queued = now
            self.served[self.name].preemptions += 1
        self.policy.add(ticket)

    def set_aside(self, ticket: Ticket, now: float) -> None:
        """A waiting call leaves the line until `readmit`; the time until then is no waiting."""
        self.policy.remove(ticket)
        if ticket.waits_since is not None:
            ticket.waited += now - ticket.waits_since
        ticket.waits_since = None

    def readmit(self, ticket: Ticket, now: float, away_s: float) -> None:
        """A call that was set aside takes its place again, with as much time as it had."""
        ticket.waits_since = now
        ticket.deadline += away_s
        self.policy.add(ticket)

    def end(self, ticket: Ticket, now: float, turn: Turn | None) -> None:
        """The call has ended."""
        self._end_turn(ticket, now, turn)
        served = self.served[self.name]
        served.calls += 1
        served.waiting_s += ticket.waited
        served.turnaround_s += now - ticket.arrived
        weight = 1.0 - FADING if self.service_s else 1.0
        self.service_s += weight * (ticket.ran - self.service_s)

    def step_aside(self, ticket: Ticket, now: float) -> None:
        """The call has to wait for something else than a place, and joins the line again when that is there."""
        self._end_turn(ticket, now, None)
        ticket.waits_since = now

    def leave(self, ticket: Ticket, now: float) -> bool:
        """The call is cancelled. Whether it had a place."""
        if ticket.id in self.running:
            self._end_turn(ticket, now, None)
            return True
        self.policy.remove(ticket)
        return False

    def _end_turn(self, ticket: Ticket, now: float, turn: Turn | None) -> None:
        del self.running[ticket.id]
        if self.leaving == ticket.id:
            self.leaving = None
        ticket.ran += now - ticket.began
        cost = None
        if turn is not None:
            ticket.generated += turn.generated
            cost = self._cost(turn)
            ticket.program.attained += cost
        self.policy.served(ticket, cost)

    def _cost(self, turn: Turn) -> float:
        config = self.config
        computed = turn.prompt - turn.cached
        return computed * config.prompt_cost + turn.cached * config.cached_cost + turn.generated

    def wait_s(self, ahead: int) -> float:
        """Seconds until a call behind `ahead` others gets a place, judged by the calls that ended lately."""
        if len(self.running) + ahead < self.places:
            return 0.0
        return (ahead + 1) * self.service_s / max(self.places, 1)

    def admits(self, ticket: Ticket, now: float) -> tuple[bool, float]:
        """Whether the policy lets a new call join, and the seconds in which it would be answered."""
        estimate = self.wait_s(self.policy.ahead(ticket)) + self.service_s
        return self.policy.admits(ticket, now + estimate), estimate

    def swap(self, policy: Policy, name: str, now: float) -> None:
        """Another policy takes over all that wait, in the order in which the old one would have run them."""
        for ticket in self.drain(now):
            policy.add(ticket)
        self.policy, self.name = policy, name

    def drain(self, now: float) -> Iterator[Ticket]:
        """Takes out all that wait."""
        while (ticket := self.policy.next(now)) is not None:
            self.policy.served(ticket, 0.0)
            yield ticket
