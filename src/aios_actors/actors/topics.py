"""Publish and subscribe.

A topic delivers each message to every subscriber, in the order of publishing. What happens with a subscriber whose
mailbox is full is that subscriber's stated policy: `drop` the message, `wait` for room (which holds the publisher), or
`unsubscribe` it. Dead subscribers leave. A topic is a plain object, not an actor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from aios_actors.actors.errors import ActorDied, MailboxFull
from aios_actors.actors.message import Message
from aios_actors.actors.ref import ActorRef

M = TypeVar("M", bound=Message[Any])
Slow = Literal["drop", "wait", "unsubscribe"]


class Topic(Generic[M]):
    """Messages of one kind for whoever subscribed. `dropped` counts, by subscriber, what was dropped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped: dict[ActorRef, int] = {}
        self._subscribers: dict[ActorRef, Slow] = {}
        self._unwatch: dict[ActorRef, Callable[[], None]] = {}

    @property
    def subscribers(self) -> tuple[ActorRef, ...]:
        """Who gets the messages, in order of subscribing."""
        return tuple(self._subscribers)

    def subscribe(self, ref: ActorRef, slow: Slow) -> None:
        """From now on `ref` gets what is published; `slow` says what happens when its mailbox is full."""
        if ref.alive and ref not in self._subscribers:
            self._unwatch[ref] = ref.cell.watch(lambda ref, exit: self.unsubscribe(ref))
        if ref.alive:
            self._subscribers[ref] = slow

    def unsubscribe(self, ref: ActorRef) -> None:
        """`ref` gets no more; without effect if it is no subscriber."""
        if self._subscribers.pop(ref, None) is not None:
            self._unwatch.pop(ref)()

    async def publish(self, message: M) -> int:
        """Delivers to all subscribers; returns to how many.

        Raises:
            UnhandledMessage: a subscriber takes no such message.
        """
        delivered = 0
        for ref, slow in list(self._subscribers.items()):
            if ref in self._subscribers:
                delivered += await self._deliver(ref, slow, message)
        return delivered

    async def _deliver(self, ref: ActorRef, slow: Slow, message: M) -> bool:
        try:
            if slow == "wait":
                await ref.send(message)
            else:
                ref.tell(message)
        except MailboxFull:
            self.dropped[ref] = self.dropped.get(ref, 0) + 1
            if slow == "unsubscribe":
                self.unsubscribe(ref)
            return False
        except ActorDied:
            return False
        return True

    def __repr__(self) -> str:
        return f"<Topic {self.name} {[ref.path for ref in self._subscribers]}>"
