"""A reply slot that a handler took over, to be answered later.

`Actor.defer` returns a `Reply`; the handler then returns nothing, and whoever holds the Reply answers with `send` or
`fail`, once. If the incarnation that deferred dies first, the asker gets ActorDied: no ask hangs. `on_cancel` tells
when nobody waits any more (the caller was cancelled, or its deadline has passed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, cast

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.message import R

if TYPE_CHECKING:
    from aios_actors.actors.belongings import Belongings
    from aios_actors.actors.cell import Cell
    from aios_actors.actors.ref import ActorRef


class Reply(Generic[R]):
    """The right to answer one message. Answers that come too late are dropped and counted."""

    __slots__ = ("_callbacks", "_cancelled", "_envelope", "_life", "done")

    def __init__(self, envelope: Envelope, life: Belongings) -> None:
        self._envelope = envelope
        self._life = life
        self._callbacks: list[Callable[[], object]] = []
        # The asker may have given up before the handler deferred.
        self.done = self._cancelled = envelope.ended

    @property
    def sender(self) -> ActorRef | None:
        """Who asked."""
        return cast("ActorRef | None", self._envelope.sender)

    @property
    def deadline(self) -> float | None:
        """When the asker stops waiting, on the system's clock."""
        return self._envelope.deadline

    @property
    def cell(self) -> Cell:
        """The cell of the actor that deferred."""
        return self._life.cell

    def send(self, value: R) -> None:
        """Answers with `value`."""
        self._finish(self._envelope.answer(value))

    def fail(self, error: BaseException) -> None:
        """Answers with `error`, which the asker's `ask` raises."""
        self._finish(self._envelope.fail(error))

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Calls `callback` when the asker gives up before the answer; at once if it already has."""
        if self._cancelled:
            callback()
        elif not self.done:
            self._callbacks.append(callback)

    def abandoned(self, envelope: Envelope) -> None:
        """See Holder."""
        self._cancelled = True
        self._end()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _finish(self, in_time: bool) -> None:
        if self.done or not in_time:
            self._life.cell.system.late_replies += 1
        self._callbacks.clear()
        self._end()

    def _end(self) -> None:
        self.done = True
        self._life.undefer(self)
        # Message and answer would wait for the garbage collector, which has other things to do on a busy node.
        if self._envelope.holder is self:
            self._envelope.holder = None

    def __repr__(self) -> str:
        return f"<Reply {'done' if self.done else 'open'} {self._envelope!r}>"
