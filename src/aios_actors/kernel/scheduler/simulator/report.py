"""What came out of a simulation: each call's times, their summaries, and the shares of those who competed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec


class CallRecord(msgspec.Struct, frozen=True):
    """How one call came along; times in seconds from the trace's begin.

    Attributes:
        program: index of its program in the trace.
        agent: who made it.
        arrived: when it came.
        first_token: when its first token was there.
        ended: when it was answered.
        waited: seconds without a place.
        preemptions: turns that ended before it did.
        refused: whether it was not let in; it then ended when it arrived.
    """

    program: int
    agent: str
    arrived: float
    first_token: float
    ended: float
    waited: float
    preemptions: int
    refused: bool = False


class Summary(msgspec.Struct, frozen=True):
    """Mean and percentiles, in seconds; all 0 of nothing."""

    mean: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Summary":
        """Of some values; a percentile is the least value that so many of them do not exceed."""
        ranked = sorted(values)
        if not ranked:
            return cls(0.0, 0.0, 0.0)
        return cls(sum(ranked) / len(ranked), *(ranked[-(-len(ranked) * p // 100) - 1] for p in (90, 99)))


@dataclass(frozen=True, slots=True)
class Report:
    """All calls, and the shares.

    Attributes:
        calls: in the order in which they ended.
        programs: turnaround of each program, from its arrival to the end of its last call, in the trace's order.
        shares: service of each group for its weight, in generated tokens, while every group had calls waiting.
        seconds: from the begin to the last answer.
        idle_s: seconds in which a place was free although a call waited. A policy that works has none.
    """

    calls: tuple[CallRecord, ...]
    programs: tuple[float, ...]
    shares: Mapping[str, float]
    seconds: float
    idle_s: float

    def waiting(self, agent: str = "") -> Summary:
        """Seconds that calls waited; those of one agent, if named."""
        return Summary.of(call.waited for call in self._of(agent))

    def first_token(self, agent: str = "") -> Summary:
        """Seconds from a call's arrival to its first token."""
        return Summary.of(call.first_token - call.arrived for call in self._of(agent))

    @property
    def turnaround(self) -> Summary:
        """Seconds from a program's arrival to its end."""
        return Summary.of(self.programs)

    def _of(self, agent: str) -> Iterable[CallRecord]:
        return (call for call in self.calls if not call.refused and agent in ("", call.agent))


def jain(shares: Iterable[float]) -> float:
    """Jain's index of fairness (Jain et al., 1984): 1 if all are equal, 1/n if one has all."""
    values = list(shares)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
