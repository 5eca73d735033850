"""Seeded simulation: virtual time, and a random but reproducible choice of what runs next.

`SimulationLoop` is an asyncio event loop without sockets or threads. Of all that is ready it runs one at random, by
its seed, and when nothing is ready its clock jumps to the next timer. `simulate` runs a scenario under many seeds,
checks the invariants after each, and reports the seed of a failure, with which the same run happens again. Code that
relies on an order that asyncio does not promise fails here first.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from aios_actors.actors.system import ActorSystem
from aios_actors.actors.testing.invariants import Invariants

Scenario = Callable[[ActorSystem], Awaitable[None]]


class SimulationFailed(AssertionError):
    """Raised when a scenario failed; `seed` repeats it and `__cause__` says how it failed."""

    def __init__(self, seed: int, error: BaseException) -> None:
        super().__init__(f"simulation failed with seed {seed}: {type(error).__name__}: {error}")
        self.seed = seed


class Deadlock(RuntimeError):
    """Raised when nothing can ever run again, but the scenario has not ended."""


class SimulationLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time; `seed` decides the order, None keeps asyncio's own (first in, first out)."""

    # asyncio's own fields, which its type stubs leave out.
    _ready: Any
    _scheduled: Any

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._virtual_now = 0.0
        self._choose = None if seed is None else random.Random(seed).randrange
        self.steps = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_now

    def _write_to_self(self) -> None:
        """Wakes a loop that waits in its selector; this one never does."""

    def _run_once(self) -> None:
        """One step: asyncio's own loop calls this until it is stopped."""
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                raise Deadlock(f"nothing can run any more; waiting: {sorted(map(_where, asyncio.all_tasks(self)))}")
            self._virtual_now = max(self._virtual_now, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._virtual_now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        if not ready:
            return
        index = 0 if self._choose is None else self._choose(len(ready))
        handle = ready[index]
        del ready[index]
        self.steps += 1
        if not handle._cancelled:
            handle._run()


def _where(task: asyncio.Task[Any]) -> str:
    return f"{task.get_name()} ({task.get_coro()!r})"


def simulate(scenario: Scenario, seeds: Iterable[int] = range(100), **system: Any) -> None:
    """Runs `scenario` once for each seed on a fresh loop and system, and checks the invariants after each run.

    Args:
        scenario: async function of an ActorSystem; it spawns, sends and asserts.
        seeds: each a run; a failure names its seed, and `seeds=[that]` repeats it.
        system: arguments for the ActorSystem.

    Raises:
        SimulationFailed: the scenario raised, hung, or broke an invariant.
    """
    for seed in seeds:
        loop = SimulationLoop(seed)
        try:
            loop.run_until_complete(_run(scenario, seed, loop, system))
        except BaseException as error:
            print(f"simulation failed with seed {seed}")
            raise SimulationFailed(seed, error) from error
        finally:
            _close(loop)


async def _run(scenario: Scenario, seed: int, loop: SimulationLoop, arguments: dict[str, Any]) -> None:
    unhandled: list[str] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(str(context)))
    invariants = Invariants()
    system = ActorSystem(f"simulation-{seed}", seed=seed, tracer=invariants.trace, **arguments)
    invariants.attach(system)
    async with system:
        await scenario(system)
    await asyncio.sleep(0)
    invariants.broken += unhandled
    invariants.check_end(system, loop)


def _close(loop: SimulationLoop) -> None:
    """Cancels and lets end what a failed run left behind."""
    loop.set_exception_handler(lambda _, context: None)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with suppress(Exception):
            loop.run_until_complete(asyncio.wait(left))
    loop.close()
