"""What `ActorSystem.ps` reports of each actor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from aios_actors.actors.cell import Cell


class ProcessInfo(msgspec.Struct, frozen=True):
    """One actor at one moment.

    `current` is the type of the message being handled and `current_s` how long it has been at it, in seconds (known
    for async handlers, the only ones that can be seen at work). `waits_for` has the paths of the actors whose answers
    its handler awaits; `deferred` counts the replies that it owes. Of the `enqueued` messages, `processed` were
    handled, `skipped` had ended before their turn, `dropped` went by the mailbox's policy, `lost` died with the actor;
    the rest waits.
    """

    path: str
    kind: str
    state: str
    depth: int
    blocked: int
    current: str | None
    current_s: float
    waits_for: tuple[str, ...]
    deferred: int
    tasks: int
    restarts: int
    enqueued: int
    processed: int
    skipped: int
    dropped: int
    lost: int


def process_info(cell: Cell, now: float) -> ProcessInfo:
    """A snapshot of `cell`; `now` is on the system's clock."""
    life, current = cell.life, cell.current
    waits = [envelope.holder.cell.path for envelope in cell.waits or () if envelope.holder is not None]
    return ProcessInfo(
        path=cell.path,
        kind=cell.kind,
        state=cell.state,
        depth=cell.mailbox.depth,
        blocked=len(cell.mailbox.blocked or ()),
        current=None if current is None else type(current.message).__qualname__,
        current_s=0.0 if current is None else now - cell.since,
        waits_for=tuple(waits),
        deferred=len(life.deferred or ()) if life is not None else 0,
        tasks=len(life.tasks or ()) if life is not None else 0,
        restarts=cell.restarts,
        enqueued=cell.mailbox.enqueued,
        processed=cell.processed,
        skipped=cell.skipped,
        dropped=cell.mailbox.dropped,
        lost=cell.lost,
    )
