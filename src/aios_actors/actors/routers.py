"""One address for many actors.

A router picks members for each message: round robin, least pending, consistent hash with bounded load, or all of them.
It is a plain object in the sender's hands, not an actor, so it adds no hop and no mailbox. Members that die leave it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import ceil
from typing import Any

from aios_actors.actors.errors import NoMember
from aios_actors.actors.mailbox import together
from aios_actors.actors.message import Message, R
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.specs import Exit


class Router:
    """Base of the routers that choose one member for each message."""

    def __init__(self, members: Iterable[ActorRef] = ()) -> None:
        self._members: list[ActorRef] = []
        self._unwatch: dict[ActorRef, Callable[[], None]] = {}
        for ref in members:
            self.add(ref)

    @property
    def members(self) -> tuple[ActorRef, ...]:
        """The living members, in order of joining."""
        return tuple(self._members)

    def add(self, ref: ActorRef) -> None:
        """Lets an actor join; without effect for a member, or for a dead actor."""
        if ref not in self._unwatch:
            self._members.append(ref)
            self._joined(ref)
            self._unwatch[ref] = lambda: None
            self._unwatch[ref] = ref.cell.watch(self._died)
            if ref not in self._members:
                del self._unwatch[ref]

    def remove(self, ref: ActorRef) -> None:
        """Lets a member leave; without effect for others."""
        if ref in self._members:
            self._members.remove(ref)
            self._left(ref)
            self._unwatch.pop(ref)()

    def choose(self, message: Message[Any]) -> ActorRef:
        """The member for `message`; to be given by the subclass, and called only with members."""
        raise NotImplementedError

    def tell(self, message: Message[Any]) -> None:
        """Like `ActorRef.tell`. Raises NoMember as well."""
        self._chosen(message).tell(message)

    async def send(self, message: Message[Any]) -> None:
        """Like `ActorRef.send`. Raises NoMember as well."""
        await self._chosen(message).send(message)

    async def ask(self, message: Message[R], timeout: float | None = None) -> R:  # noqa: ASYNC109
        """Like `ActorRef.ask`. Raises NoMember as well."""
        return await self._chosen(message).ask(message, timeout)

    def _chosen(self, message: Message[Any]) -> ActorRef:
        if not self._members:
            raise NoMember(f"{type(self).__name__}: no member is alive to take {type(message).__qualname__}")
        return self.choose(message)

    def _died(self, ref: ActorRef, exit: Exit) -> None:
        self.remove(ref)

    def _joined(self, ref: ActorRef) -> None:
        """For subclasses that keep more than the list."""

    def _left(self, ref: ActorRef) -> None:
        """For subclasses that keep more than the list."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {[ref.path for ref in self._members]}>"


class RoundRobin(Router):
    """Each member in turn."""

    _next = 0

    def choose(self, message: Message[Any]) -> ActorRef:
        """See Router."""
        self._next = (self._next + 1) % len(self._members)
        return self._members[self._next - 1]


class LeastPending(RoundRobin):
    """The member with the fewest messages waiting or at work; among equals, each in turn."""

    def choose(self, message: Message[Any]) -> ActorRef:
        """See Router."""
        super().choose(message)
        turned = self._members[self._next :] + self._members[: self._next]
        return min(turned, key=lambda ref: ref.pending)


class ConsistentHash(Router):
    """The same member for the same key while membership lasts, unless it is overloaded.

    A member takes no message while it has `bound` times the mean of pending messages; the next on the ring does. When
    a member joins or leaves, only the keys next to it move. Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent
    Hashing with Bounded Loads" (2016).

    Args:
        members: the first members.
        key: the key of a message.
        bound: at least 1; infinity for plain consistent hashing.
        points: places on the ring for each member; more spread the keys more evenly.
    """

    def __init__(
        self,
        members: Iterable[ActorRef] = (),
        *,
        key: Callable[[Any], str],
        bound: float = 1.25,
        points: int = 64,
    ) -> None:
        self._key = key
        self._bound = bound
        self._points = points
        self._ring: list[tuple[int, str, ActorRef]] = []
        super().__init__(members)

    def choose(self, message: Message[Any]) -> ActorRef:
        """See Router."""
        start = bisect_right(self._ring, (_hash(self._key(message)), ""), key=lambda point: point[:2])
        load = sum(ref.pending for ref in self._members) + 1
        limit = load if self._bound == float("inf") else ceil(self._bound * load / len(self._members))
        for step in range(len(self._ring)):
            ref = self._ring[(start + step) % len(self._ring)][2]
            if ref.pending < limit:
                return ref
        return self._members[0]

    def _joined(self, ref: ActorRef) -> None:
        for point in range(self._points):
            insort(self._ring, (_hash(f"{ref.path}#{point}"), ref.path, ref), key=lambda entry: entry[:2])

    def _left(self, ref: ActorRef) -> None:
        self._ring = [entry for entry in self._ring if entry[2] is not ref]


class Broadcast(Router):
    """Every member gets each message; an ask gathers all answers."""

    def tell(self, message: Message[Any]) -> None:
        """Tells every member; one that refuses the message fails the call, after the others were told."""
        errors = []
        for ref in self.members:
            try:
                ref.tell(message)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    async def send(self, message: Message[Any]) -> None:
        """Sends to every member, waiting for room in each."""
        await together(ref.send(message) for ref in self.members)

    async def ask_all(self, message: Message[R], timeout: float | None = None) -> list[R]:  # noqa: ASYNC109
        """The answers of all members, in order of joining; the first error is raised, and cancels the other asks."""
        return await together(ref.ask(message, timeout) for ref in self.members)


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
