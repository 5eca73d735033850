"""What the kernel asks of the context service. Internal to the kernel; agents use `syscalls.context`."""

from aios_actors.actors import Message
from aios_actors.syscalls.context import Snapshot


class Save(Message[None], frozen=True):
    """From the scheduler: a stretch of a generation is over, and `done` tells whether the generation is.

    Attributes:
        job: name of the job.
        caller: name of the agent.
        conversation: name of the agent's conversation.
        model: the model whose tokens these are.
        prompt: the prompt's tokens; empty if the worker died before it told them.
        generated: all tokens generated so far.
        done: whether the generation is complete.
    """

    job: str
    caller: str
    conversation: str
    model: str
    prompt: tuple[int, ...]
    generated: tuple[int, ...]
    done: bool


class Load(Message[Snapshot], frozen=True):
    """From the scheduler: the generation `job` goes on. Errors: NotFound."""

    job: str


class Forget(Message[None], frozen=True):
    """From the scheduler: the generation `job` will not go on."""

    job: str


class Latest(Message[Snapshot], frozen=True):
    """From the scheduler: a conversation goes on from its tokens. Errors: NotFound."""

    caller: str
    conversation: str


class ForgetOwner(Message[None], frozen=True):
    """From the agent host: this agent has ended for good, and its conversations with it."""

    owner: str


class Sync(Message[None], frozen=True):
    """Answered when all that was saved before is on disk. Errors: DataUnavailable."""


class WriteDue(Message[None], frozen=True):
    """From the actor to itself: it is time to write what was gathered."""
