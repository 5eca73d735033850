"""What the kernel's services have in common: they know who asks.

Contract: the identity of a caller comes from the ref that the runtime stamped on the message, and never from the
message. Agents are the children of the actor `agents`; their names are their identities, and what an agent's own child
actors ask for is asked by the agent. A syscall from outside all actors (the command line, a test) is the operator's.
"""

from aios_actors.actors import Actor
from aios_actors.kernel.database import check_text
from aios_actors.syscalls.errors import AccessDenied

AGENTS = "agents"
OPERATOR = "operator"


class KernelActor(Actor):
    """Base of the actors that serve syscalls."""

    @property
    def caller(self) -> str:
        """Name of the agent that sent the current syscall, or "operator".

        Raises:
            AccessDenied: the sender is an actor, but no agent.
        """
        sender = self.sender
        if sender is None:
            return OPERATOR
        _, host, *names = sender.path.split("/")
        if host != AGENTS or not names:
            raise AccessDenied(f"actor {sender.path} is no agent, so it has no rights; make syscalls from an agent")
        return names[0]

    def owner(self, named: str) -> str:
        """Whose memory or files a syscall acts on: the owner that it names, or the caller if that is "".

        Raises:
            InvalidArgument: `named` is no proper string.
        """
        check_text(named, "owner")
        return named or self.caller
