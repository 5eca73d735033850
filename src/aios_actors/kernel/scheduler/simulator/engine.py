"""The engine of the simulator: continuous batching whose steps cost what a line says, seconds = a + b x tokens.

Contract: each step computes one token for each call that decodes, and a chunk of prefill for each one that does not
yet. `leap` does as many steps at once as change nothing but counts, so that a simulation costs time by events and not
by tokens. A call that was taken off its place goes on where it was: its KV is taken to be at hand.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from aios_actors.kernel.scheduler.policies import Ticket
from aios_actors.kernel.scheduler.simulator.trace import CallTrace


class EngineCost(msgspec.Struct, frozen=True):
    """What a step takes: `step_s` + `token_s` x its tokens, with at most `chunk` tokens of prefill for each call."""

    step_s: float = 0.01
    token_s: float = 0.0005
    chunk: int = 64


@dataclass(eq=False, slots=True)
class Running:
    """A call at work: tokens of prefill and of answer that are left, and those that its turn may still generate."""

    ticket: Ticket
    call: CallTrace
    prefill: int
    output: int
    turn: float = math.inf
    prefilled: int = 0
    generated: int = 0

    def begin(self, slice: int) -> None:
        """A turn begins."""
        self.turn = slice or math.inf
        self.prefilled = self.generated = 0

    @property
    def over(self) -> bool:
        """Whether the call has ended, or its turn has."""
        return self.output == 0 or self.turn <= 0

    def steps(self, chunk: int) -> int:
        """Steps until something changes: the prefill's last chunk, its end, the end of the call or the turn."""
        return max(self.prefill // chunk, 1) if self.prefill else int(min(self.output, self.turn))

    def tokens(self, chunk: int) -> int:
        """Tokens that it computes in the next step."""
        return min(self.prefill, chunk) or 1

    def advance(self, steps: int, chunk: int) -> None:
        """It takes part in so many steps, at most `self.steps`. The last of the prefill gives the first token."""
        if self.prefill:
            done = min(self.prefill, steps * chunk)
            self.prefill -= done
            self.prefilled += done
            steps = 0 if self.prefill else 1
        self.output -= steps
        self.turn -= steps
        self.generated += steps


def leap(running: Iterable[Running], cost: EngineCost, at_most_s: float) -> tuple[int, float]:
    """How many steps to take at once, and the seconds that they take: no more than reach beyond `at_most_s`."""
    batch = list(running)
    step = cost.step_s + cost.token_s * sum(each.tokens(cost.chunk) for each in batch)
    steps = min(each.steps(cost.chunk) for each in batch)
    if at_most_s < steps * step:
        steps = max(math.ceil(at_most_s / step), 1)
    return steps, steps * step
