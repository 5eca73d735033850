"""What every syscall has: a verb, and the resource that it acts upon.

A syscall is a typed actor message, so its type argument is its reply's type. The caller is never a part of it:
the runtime stamps the sender on the envelope, and the kernel resolves that to an agent.
"""

from typing import ClassVar, Generic

from aios_actors.actors.message import Message, R


class Syscall(Message[R], Generic[R], frozen=True):
    """A request of an agent to the kernel.

    Class attributes:
        verb: what is asked for, `service.operation`, as grants in the config name it.
    """

    verb: ClassVar[str]

    def resource(self) -> str:
        """The name of what is acted upon, for the access check; empty when it belongs to the caller."""
        return ""
