"""Monitors: being told once that another actor is dead.

A monitor delivers one `Down` to the monitoring actor's control lane when the watched actor has died for good (a
restart is no death), at once if it is already dead. The monitor ends with the incarnation that set it, and by
`cancel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.message import Message
from aios_actors.actors.specs import Exit

if TYPE_CHECKING:
    from aios_actors.actors.cell import Cell
    from aios_actors.actors.ref import ActorRef


class Down(Message[None], frozen=True):
    """The actor `ref` is dead; `exit` says why."""

    ref: Any  # an ActorRef, which a Struct definition cannot name without an import cycle
    exit: Exit


DownFactory = Callable[["ActorRef", Exit], Message[None]]


class Monitor:
    """One watch of one actor by another."""

    __slots__ = ("_cell", "_factory", "_posted", "_unwatch")

    def __init__(self, cell: Cell, target: ActorRef, factory: DownFactory) -> None:
        self._cell = cell
        self._factory = factory
        self._posted: Envelope | None = None
        self._unwatch = target.cell.watch(self._died)

    def cancel(self) -> None:
        """No Down will be handled any more."""
        self._unwatch()
        if self._posted is not None:
            self._cell.mailbox.unpost(self._posted)

    def _died(self, ref: ActorRef, exit: Exit) -> None:
        message = self._factory(ref, exit)
        self._posted = Envelope(message, None, ref, self._cell)
        if type(message) in self._cell.handlers:
            self._cell.mailbox.post(self._posted)
        else:
            self._cell.bury(self._posted, "unhandled", self._cell.unhandled(message))
