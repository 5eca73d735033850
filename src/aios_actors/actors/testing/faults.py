"""Faults on purpose: crashes, delays and losses at chosen messages of chosen actors.

A fault wraps one handler of one actor and is used up after `times` messages. It acts within the runtime's own rules: a
crash is an exception of the handler, a lost message is one that was handled without effect and without reply.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any

from aios_actors.actors.ref import ActorRef


class InjectedFault(Exception):
    """Raised in a handler by a fault injector."""


class Faults:
    """Puts faults into actors; `count` says how many have struck."""

    def __init__(self) -> None:
        self.count = 0

    def crash(self, ref: ActorRef, kind: type, *, times: int = 1, error: Exception | None = None) -> None:
        """The next `times` messages of `kind` crash the actor instead of being handled."""

        def strike(actor: Any, message: Any) -> Any:
            raise error or InjectedFault(f"injected into {ref.path} at {message!r}")

        self._wrap(ref, kind, times, strike)

    def crash_after(self, ref: ActorRef, kind: type, *, times: int = 1) -> None:
        """The next `times` messages of `kind` are handled, and the actor crashes before it replies."""
        handle = self._handler(ref, kind)

        async def strike(actor: Any, message: Any) -> Any:
            result = handle(actor, message)
            if type(result) is CoroutineType:
                await result
            raise InjectedFault(f"injected into {ref.path} after {message!r}")

        self._wrap(ref, kind, times, strike)

    def lose(self, ref: ActorRef, kind: type, *, times: int = 1) -> None:
        """The next `times` messages of `kind` vanish: not handled, and never answered while the actor lives."""

        def strike(actor: Any, message: Any) -> None:
            actor.defer()

        self._wrap(ref, kind, times, strike)

    def hang(self, ref: ActorRef, kind: type, *, times: int = 1) -> None:
        """The next `times` messages of `kind` keep the handler busy until it is cancelled."""

        async def strike(actor: Any, message: Any) -> None:
            await actor.system.new_future()

        self._wrap(ref, kind, times, strike)

    @staticmethod
    def _handler(ref: ActorRef, kind: type) -> Callable[[Any, Any], Any]:
        handle = ref.cell.handlers.get(kind)
        if handle is None:
            raise ValueError(f"{ref.path} takes no {kind.__qualname__}")
        return handle

    def _wrap(self, ref: ActorRef, kind: type, times: int, strike: Callable[[Any, Any], Any]) -> None:
        handle = self._handler(ref, kind)
        left = times

        def faulty(actor: Any, message: Any) -> Any:
            nonlocal left
            if left == 0:
                return handle(actor, message)
            left -= 1
            self.count += 1
            return strike(actor, message)

        ref.cell.handlers = {**ref.cell.handlers, kind: faulty}
