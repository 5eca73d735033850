"""What the node asks of the scheduler. Internal to the kernel."""

from aios_actors.actors import Message
from aios_actors.kernel.scheduler.line import Line
from aios_actors.observe.state import ModelState, PolicyTotals


class Hold(Message[None], frozen=True):
    """From the agent host: hold all that these agents ask for, from now on, and take their generations off the workers.

    Answered when none of their generations runs. A generation keeps its tokens and its place in the line.
    """

    agents: frozenset[str]


class Release(Message[None], frozen=True):
    """From the agent host: these agents go on."""

    agents: frozenset[str]


class SetPolicy(Message[None], frozen=True):
    """From now on this policy decides who gets the model next; what waits goes over to it.

    Attributes:
        model: a model that workers serve.
        policy: a name as in the config.

    Errors: NotFound (no such model), InvalidArgument (no such policy).
    """

    model: str
    policy: str


class ListLines(Message[tuple[ModelState, ...]], frozen=True):
    """How long is the line before each model, and what have its policies done?"""


def state_of(model: str, line: Line) -> ModelState:
    """A line as it is shown."""
    policies = (PolicyTotals(n, s.calls, s.waiting_s, s.turnaround_s, s.preemptions) for n, s in line.served.items())
    waiting, running = len(line.policy), len(line.running)
    estimate = line.wait_s(waiting)
    return ModelState(model, line.name, waiting, running, line.places, estimate, tuple(policies), line.error)
