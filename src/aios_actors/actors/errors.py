"""The runtime's errors, one class a meaning.

`Refusal` is the root of all errors that are *replies*: raised in a handler, a refusal goes to the asker as it is and
the actor lives on. Every error with which the runtime ends a request is a refusal too, so that a failed nested ask
passes through the actor that made it instead of killing it. Any other exception raised by a handler is a crash.
`UnhandledMessage`, `BadActor` and `StartFailed` are mistakes of a program and no refusals.
"""

from typing import Any


class Refusal(Exception):
    """Raised by a handler to answer its asker with an error; the actor lives on. Meant to be subclassed."""


class ActorDied(Refusal):
    """Raised when an actor died, stopped or crashed before it answered, or was dead when it was asked.

    `actor` is the actor's path. `__cause__` is the exception that killed it, if there was one.
    """

    def __init__(self, actor: str, why: str) -> None:
        super().__init__(f"{actor} {why}")
        self.actor = actor


class DeadlineExceeded(Refusal):
    """Raised when the deadline of a request, its own or one inherited from the request that led to it, has passed."""


class MailboxFull(Refusal):
    """Raised when a message found the mailbox of its receiver full, or was pushed out of it by a newer one."""


class StashFull(Refusal):
    """Raised when an actor stashes more messages than its `MailboxSpec.stash` allows."""


class AskCycle(Refusal):
    """Raised when an ask would wait for an actor that is itself waiting, directly or not, for the asking one.

    `cycle` holds the names along the cycle; the first and the last are the same.
    """

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(
            f"ask refused, it would never end: {' -> '.join(cycle)}; use tell, or ask from a task (Actor.start_task)"
        )
        self.cycle = cycle


class SystemClosed(Refusal):
    """Raised when an actor system that is shutting down or closed is asked for new work."""


class UnknownActor(Refusal):
    """Raised when no living actor has the name that was looked up, or a name to be given is taken."""


class NoMember(Refusal):
    """Raised when a router has no living member for a message."""


class UnhandledMessage(TypeError):
    """Raised when a message is sent to an actor that has no handler for its type."""

    def __init__(self, actor: str, message: Any, takes: tuple[str, ...]) -> None:
        super().__init__(f"{actor} takes no {type(message).__qualname__}; it takes: {', '.join(takes) or 'nothing'}")
        self.actor = actor


class BadActor(TypeError):
    """Raised when an actor class is defined with a mistake in its handlers or declarations."""


class StartFailed(Exception):
    """Raised when an actor could not be spawned: its `__init__` or `started` raised. `__cause__` has the exception."""


class IntensityExceeded(Exception):
    """Raised in a supervising actor whose children crashed more often than its restart intensity allows."""


class LinkedActorDied(Exception):
    """Raised in an actor because an actor linked to it crashed or was killed."""
