"""Tracing: what happens in a system, as events to one callable.

With a tracer, each actor's dispatch table is wrapped when the actor is made; without one nothing is, so tracing costs
nothing when it is off. A tracer runs inline and must neither block nor raise.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import msgspec

from aios_actors.actors.handlers import Table

if TYPE_CHECKING:
    from aios_actors.actors.ref import ActorRef


class TraceEvent(msgspec.Struct, frozen=True):
    """One event. `kind`: started, ended (one incarnation, by itself), died, handling, handled, raised.

    `actor` is its ActorRef, `at` on the system's clock. `detail` is the message for handling and handled, the
    exception for raised, the Exit for ended and died.
    """

    kind: str
    actor: Any
    at: float
    detail: Any


Tracer = Callable[[TraceEvent], None]


def traced_table(ref: ActorRef, table: Table, tracer: Tracer, now: Callable[[], float]) -> Table:
    """The table with every handler reporting its begin and end."""

    def emit(kind: str, detail: Any) -> None:
        tracer(TraceEvent(kind, ref, now(), detail))

    def wrap(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def finish(message: Any, result: Any) -> Any:
            try:
                value = await result
            except BaseException as error:
                emit("raised", error)
                raise
            emit("handled", message)
            return value

        def traced(actor: Any, message: Any) -> Any:
            emit("handling", message)
            try:
                result = method(actor, message)
            except BaseException as error:
                emit("raised", error)
                raise
            if type(result) is CoroutineType:
                return finish(message, result)
            emit("handled", message)
            return result

        return traced

    return {kind: wrap(method) for kind, method in table.items()}
