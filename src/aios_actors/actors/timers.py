"""Keyed timers of one actor incarnation.

A timer delivers its message to its own actor, in the control lane. There is at most one timer, and at most one
undelivered message, for each key: starting a key again replaces it, cancelling takes back a message that was not yet
handled. No timer outlives its incarnation, so none ever fires into a later one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.message import Message

if TYPE_CHECKING:
    from aios_actors.actors.cell import Cell
    from aios_actors.actors.mailbox import TimerHandle


class Timers:
    """Delayed and repeated messages of an actor to itself."""

    __slots__ = ("_cell", "_handles", "_posted")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._handles: dict[Hashable, TimerHandle] = {}
        self._posted: dict[Hashable, Envelope] = {}

    def start(self, key: Hashable, delay: float, message: Message[None], *, repeat: bool = False) -> None:
        """Delivers `message` in `delay` seconds, and with `repeat` every `delay` seconds from then on.

        A repeated message that is still undelivered when it is due again is not queued twice.

        Raises:
            UnhandledMessage: the actor takes no such message.
        """
        if type(message) not in self._cell.handlers:
            raise self._cell.unhandled(message)
        self.cancel(key)
        self._set(key, self._cell.system.now() + delay, delay if repeat else None, message)

    def cancel(self, key: Hashable) -> bool:
        """No message of this key will be delivered any more; False if there was none to come."""
        handle = self._handles.pop(key, None)
        if handle is not None:
            handle.cancel()
        posted = self._posted.pop(key, None)
        unposted = posted is not None and self._cell.mailbox.unpost(posted)
        return handle is not None or unposted

    def active(self, key: Hashable) -> bool:
        """Whether the key is set to fire."""
        return key in self._handles

    def clear(self) -> None:
        """Cancels every key."""
        for key in [*self._handles, *self._posted]:
            self.cancel(key)

    def _set(self, key: Hashable, when: float, period: float | None, message: Message[None]) -> None:
        self._handles[key] = self._cell.system.clock.call_at(when, lambda: self._fire(key, when, period, message))

    def _fire(self, key: Hashable, when: float, period: float | None, message: Message[None]) -> None:
        del self._handles[key]
        posted = self._posted.get(key)
        if posted is not None:
            self._cell.mailbox.unpost(posted)
        self._posted[key] = envelope = Envelope(message, None, self._cell.ref, self._cell)
        self._cell.mailbox.post(envelope)
        if period is not None:
            self._set(key, when + period, period, message)
