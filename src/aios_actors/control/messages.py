"""What can be asked of a running node from outside, and its answers: one JSON object a line."""

from msgspec import Struct

from aios_actors.observe.state import NodeState


class Ps(Struct, frozen=True, tag="ps"):
    """Asks for the node's state."""


class Pause(Struct, frozen=True, tag="pause"):
    """Lets an agent stand still, with those that it made; "" is the whole run. Answered when it does."""

    agent: str = ""


class Resume(Struct, frozen=True, tag="resume"):
    """Lets a paused agent go on; "" is all of them."""

    agent: str = ""


class Kill(Struct, frozen=True, tag="kill"):
    """Ends what an agent does, with those that it made; "" is the whole run."""

    agent: str = ""


class SetPolicy(Struct, frozen=True, tag="policy"):
    """Another policy decides who gets a model next."""

    model: str
    policy: str


Order = Ps | Pause | Resume | Kill | SetPolicy


class Done(Struct, frozen=True, tag="done"):
    """The order is carried out; `state` answers `Ps`."""

    state: NodeState | None = None


class Refused(Struct, frozen=True, tag="refused"):
    """It is not, and why."""

    error: str


Answer = Done | Refused

ADDRESS_FILE = "node.json"


class Address(Struct, frozen=True):
    """Where a running node listens, as its data folder has it in `ADDRESS_FILE`.

    The socket itself lies in a temporary folder, because its path may have no more than 107 bytes.
    """

    pid: int
    socket: str


MOST_BYTES = 1 << 26
"""Of one line: the state of 100,000 agents has room."""
