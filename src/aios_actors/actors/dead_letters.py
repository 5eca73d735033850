"""Messages that were not handled: all are counted by reason, the last are kept.

Reasons: `dropped` (mailbox policy), `unreachable` (the receiver was dead, or died first), `poison` (its handler
crashed as often as allowed), `killed` (its handler was cancelled by the actor's end), `refused` (a tell was answered
with a Refusal), `unhandled` (a monitor made a message that its actor does not take).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from aios_actors.actors.envelope import Envelope

if TYPE_CHECKING:
    from aios_actors.actors.ref import ActorRef


class DeadLetter(msgspec.Struct, frozen=True):
    """One message that was not handled. `receiver` and `sender` are paths."""

    receiver: str
    sender: str | None
    message: Any
    why: str
    error: BaseException | None


class DeadLetters:
    """The last `keep` dead letters, and how many there were."""

    def __init__(self, keep: int) -> None:
        self._last: deque[DeadLetter] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.by_actor: Counter[str] = Counter()

    def add(self, receiver: ActorRef, envelope: Envelope, why: str, error: BaseException | None) -> None:
        """Counts and keeps one."""
        sender = None if envelope.sender is None else envelope.sender.path
        self._last.append(DeadLetter(receiver.path, sender, envelope.message, why, error))
        self.counts[why] += 1
        self.by_actor[receiver.path] += 1

    @property
    def total(self) -> int:
        """How many there were in all."""
        return self.counts.total()

    @property
    def last(self) -> tuple[DeadLetter, ...]:
        """The last ones, oldest first."""
        return tuple(self._last)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._last)

    def __len__(self) -> int:
        return self.total

    def __repr__(self) -> str:
        return f"<DeadLetters {dict(self.counts)}>"
