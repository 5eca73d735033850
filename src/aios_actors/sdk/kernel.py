"""Whom an agent's syscalls go to, as the SDK sees it: the scheduler's ref, or something that stands before it."""

from typing import Protocol

from aios_actors.actors import Message
from aios_actors.actors.message import R


class Kernel(Protocol):
    """Answers syscalls."""

    async def ask(self, message: Message[R], timeout: float | None = None) -> R:  # noqa: ASYNC109
        """The answer to a syscall. Raises the errors that its class names."""
