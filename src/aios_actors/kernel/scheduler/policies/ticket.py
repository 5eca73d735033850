"""What a policy knows of an LLM call: a ticket. It has no prompt, no reply, no clock; the simulator makes them too.

Costs are in tokens generated: a token of the answer costs 1, one of the prompt what the config says.
"""

import math
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Program:
    """A task with all that it causes: the calls of its agent, and of those that this one asked or made.

    Attributes:
        attained: the service that its calls have got, on all models.
    """

    attained: float = 0.0


@dataclass(eq=False, slots=True)
class Ticket:
    """One LLM call in a line or on a worker. Times are in seconds on the node's clock.

    Attributes:
        id: number of its syscall.
        agent: name of the caller.
        arrived: when the call came.
        prompt_tokens: of its prompt, as estimated, and as counted once a worker has told.
        program: what it is a part of.
        group: those with whom it shares `weight` of the model.
        weight: how large a share that is, relative to other groups.
        priority: higher is more urgent.
        deadline: when the answer should be there; infinite if there is no such time.
        queued: when it joined the line, or joined it anew after its turn; the loss of a worker is no turn.
        waits_since: when it began to wait; None while it has a place.
        waited: seconds that it waited before that.
        began: when it got the place that it has.
        ran: seconds that it had a place before that.
        generated: tokens of the answer so far.
    """

    id: int
    agent: str
    arrived: float
    prompt_tokens: int = 0
    program: Program = field(default_factory=Program)
    group: str = ""
    weight: float = 1.0
    priority: int = 0
    deadline: float = math.inf
    queued: float = field(init=False)
    waits_since: float | None = field(init=False)
    waited: float = 0.0
    began: float = 0.0
    ran: float = 0.0
    generated: int = 0

    def __post_init__(self) -> None:
        self.queued = self.waits_since = self.arrived
