"""A stand-in actor that records what it gets.

`probe = await Probe.start(system, Add, Get)` takes these message types; `probe.ref` goes wherever a ref is wanted.
Messages are looked at in order with `expect`. An ask to a probe waits until the test answers it with `reply`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeVar

from aios_actors.actors.actor import Actor
from aios_actors.actors.message import Message
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.reply import Reply
from aios_actors.actors.system import ActorSystem

M = TypeVar("M", bound=Message[Any])

# Turns of the loop after which everything that does not wait for the outside has come to rest in a test of usual size.
TURNS = 64


async def settle(turns: int = TURNS) -> None:
    """Lets the loop turn `turns` times, so that actors work off what they have."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Probe:
    """Records messages for a test. `within` is in seconds of the loop's time, and only a failing test uses it up."""

    def __init__(self) -> None:
        self.ref: ActorRef
        self.last_sender: ActorRef | None = None
        self._seen: deque[tuple[Any, ActorRef | None, Reply[Any]]] = deque()
        self._arrived = asyncio.Event()
        self._reply: Reply[Any] | None = None

    @classmethod
    async def start(cls, system: ActorSystem, *takes: type, name: str | None = None) -> Probe:
        """Spawns a probe that takes the given message types."""
        probe = cls()

        def take(actor: Actor, message: Any) -> None:
            probe._seen.append((message, actor.sender, actor.defer()))
            probe._arrived.set()

        kind: type[Actor] = type("ProbeActor", (Actor,), {})
        kind.handlers = dict.fromkeys(takes, take)
        probe.ref = await system.spawn(kind, name=name)
        return probe

    async def expect(self, kind: type[M], within: float = 5.0) -> M:
        """The next message, which must be a `kind`; fails with AssertionError if it is another or none comes."""
        try:
            async with asyncio.timeout(within):
                while not self._seen:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"expected {kind.__qualname__} within {within} s, but nothing came") from None
        message, self.last_sender, self._reply = self._seen.popleft()
        if not isinstance(message, kind):
            raise AssertionError(f"expected {kind.__qualname__}, got {message!r}")
        return message

    async def expect_nothing(self) -> None:
        """Fails with AssertionError if a message has come, or comes before the actors have settled."""
        await settle()
        if self._seen:
            raise AssertionError(f"expected nothing, got {self._seen[0][0]!r}")

    def reply(self, value: Any) -> None:
        """Answers the message that was expected last."""
        self._last_reply().send(value)

    def refuse(self, error: BaseException) -> None:
        """Answers the message that was expected last with an error."""
        self._last_reply().fail(error)

    @property
    def cancelled(self) -> bool:
        """Whether the asker of the message that was expected last has given up."""
        return self._last_reply().done

    def _last_reply(self) -> Reply[Any]:
        if self._reply is None:
            raise AssertionError("nothing was expected yet, so there is nothing to answer")
        return self._reply
