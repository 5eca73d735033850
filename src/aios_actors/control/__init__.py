"""Looking at a running node and steering it from outside: a socket beside the node's data, and its client."""

from aios_actors.control.client import NoNode, OrderRefused, order
from aios_actors.control.messages import Kill, Pause, Ps, Resume, SetPolicy
from aios_actors.control.server import control

__all__ = ["Kill", "NoNode", "OrderRefused", "Pause", "Ps", "Resume", "SetPolicy", "control", "order"]
