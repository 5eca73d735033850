"""Actors and messages that the promises' tests share."""

import asyncio
from typing import Any

from aios_actors.actors import Actor, ActorRef, Message, Refusal, Reply, handler


class Add(Message[int], frozen=True):
    """Adds `n`; answered with the sum so far."""

    n: int


class Get(Message[list[int]], frozen=True):
    """Answered with all that was added, in order."""


class Crash(Message[int], frozen=True):
    """Its handler raises ValueError."""


class Hang(Message[int], frozen=True):
    """Its handler waits until it is cancelled."""


class Defer(Message[int], frozen=True):
    """Its reply is deferred, and kept in `Recorder.replies`."""


class Refuse(Message[int], frozen=True):
    """Refused with `Sorry`."""


class AskVia(Message[int], frozen=True):
    """Its handler asks `ref` the message and answers with the answer."""

    ref: ActorRef
    message: Message[int]
    timeout: float | None = None


class Sorry(Refusal):
    """Raised to refuse."""


class Recorder(Actor):
    """Adds numbers, and does everything else that tests need."""

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log
        self.added: list[int] = []
        self.replies: list[Reply[int]] = []

    @handler
    def add(self, message: Add) -> int:
        self.added.append(message.n)
        return sum(self.added)

    @handler
    def get(self, message: Get) -> list[int]:
        return list(self.added)

    @handler
    def crash(self, message: Crash) -> int:
        raise ValueError("crashed on purpose")

    @handler
    async def hang(self, message: Hang) -> int:
        self.log.append("hanging")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        return 0

    @handler
    def keep(self, message: Defer) -> None:
        reply = self.defer()
        reply.on_cancel(lambda: self.log.append("unwanted"))
        self.log.append(reply)

    @handler
    def refuse(self, message: Refuse) -> int:
        raise Sorry("no")

    @handler
    async def ask_via(self, message: AskVia) -> int:
        return await message.ref.ask(message.message, timeout=message.timeout)

    async def stopping(self) -> None:
        self.log.append("stopping")

    async def stopped(self, reason: object) -> None:
        self.log.append(f"stopped {reason}")
