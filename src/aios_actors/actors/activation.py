"""Actors that exist by name and live on demand.

`Activation.ref(ActorId("account", "7"))` is valid at once and costs one dormant cell. The first message activates the
actor: an instance is made from the registered class with the key as its first argument. After an idle time it is
passivated (hooks `stopping` and `stopped` run) and lies dormant until the next message. No message is lost between the
two, and no watcher sees a passivation as a death.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aios_actors.actors.deadlines import Alarm
from aios_actors.actors.errors import UnknownActor
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.specs import ChildSpec

if TYPE_CHECKING:
    from aios_actors.actors.actor import Actor
    from aios_actors.actors.cell import Cell
    from aios_actors.actors.system import ActorSystem


class ActorId(msgspec.Struct, frozen=True):
    """The name of an actor that lives on demand."""

    type: str
    key: str


class Activation:
    """The types of actors that live on demand in one system."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._types: dict[str, tuple[type[Actor], dict[str, Any], float]] = {}

    def register(self, type_name: str, actor: type[Actor], *, idle_s: float, **kwargs: Any) -> None:
        """Names an actor class; instances are made as `actor(key, **kwargs)`.

        They are passivated when for `idle_s` seconds, and at the latest for twice that, they had nothing to do: no
        message, no task, no deferred reply and no child. Raises UnknownActor if the name is taken.
        """
        if type_name in self._types:
            raise UnknownActor(f"the actor type {type_name!r} is taken")
        self._types[type_name] = (actor, kwargs, idle_s)

    def ref(self, id: ActorId) -> ActorRef:
        """The ref of an actor, which is activated by its first message. Raises UnknownActor for an unknown type."""
        name = f"{id.type}:{id.key}"
        cell = self._system.cells.get("/" + name)
        if cell is None:
            if id.type not in self._types:
                raise UnknownActor(f"no actor type is called {id.type!r}; registered: {', '.join(self._types)}")
            actor, kwargs, idle_s = self._types[id.type]
            cell = self._system.add_dormant(ChildSpec(factory=actor, name=name, args=(id.key,), kwargs=kwargs))
            _Idle(cell, idle_s)
        return cell.ref


class _Idle:
    """Activates one cell on mail, and passivates it when it has been idle."""

    def __init__(self, cell: Cell, idle_s: float) -> None:
        self._cell = cell
        self._idle_s = idle_s
        self._alarm = Alarm(cell.system.clock)
        self._seen = -1
        cell.on_mail = self._activate
        cell.watch(lambda ref, exit: self._alarm.cancel())

    def _activate(self) -> None:
        self._cell.restart()
        self._alarm.set(self._idle_s, self._check)

    def _check(self) -> None:
        cell = self._cell
        if cell.state == "dormant":
            return
        if cell.idle and cell.processed == self._seen:
            cell.passivate()
        else:
            self._seen = cell.processed
            self._alarm.set(self._idle_s, self._check)
