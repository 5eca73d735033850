"""Promise 7: a graceful stop drains, then answers what is left; starts left to right, stops right to left."""

import asyncio
import os
import threading

import pytest

from aios_actors.actors import ActorDied, ActorSystem, ChildSpec, SystemClosed, handler
from aios_actors.actors.testing import ManualClock, settle, simulate
from tests.semantics.messages import Add, AskVia, Crash, Defer, Get, Hang, Recorder


async def test_stop_works_off_what_waits_and_refuses_what_comes(system: ActorSystem) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log, name="r")
    asks = [asyncio.ensure_future(ref.ask(Add(n))) for n in range(5)]
    await asyncio.sleep(0)
    ref.stop()
    with pytest.raises(ActorDied, match="/r is stopping"):
        await ref.ask(Add(9))
    assert await asyncio.gather(*asks) == [0, 1, 3, 6, 10]
    assert (await ref.join()).kind == "stopped"
    assert log == ["stopping", "stopped stopped"]


async def test_after_the_drain_time_what_is_left_is_answered(system: ActorSystem, clock: ManualClock) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    asks = [asyncio.ensure_future(ref.ask(message)) for message in (Hang(), Add(1), Add(2))]
    await settle()
    ref.stop(drain_s=1.0)
    await clock.advance(0.5)
    assert ref.cell.state == "draining"
    await clock.advance(0.5)
    for ask in asks:
        with pytest.raises(ActorDied):
            await ask
    assert log == ["hanging", "cancelled", "stopping", "stopped stopped"]


async def test_a_stop_waits_for_deferred_replies(system: ActorSystem, clock: ManualClock) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    answered = asyncio.ensure_future(ref.ask(Defer()))
    forgotten = asyncio.ensure_future(ref.ask(Defer()))
    await settle()
    ref.stop(drain_s=1.0)
    log[0].send(5)  # type: ignore[attr-defined]
    assert await answered == 5
    assert ref.cell.state == "draining"
    await clock.advance(1.0)
    with pytest.raises(ActorDied):
        await forgotten
    assert log[2:] == ["stopping", "stopped stopped"]


async def test_a_draining_actor_still_hears_its_own_tasks(system: ActorSystem) -> None:
    class Working(Recorder):
        @handler
        def keep(self, message: Defer) -> None:
            self.reply = self.defer()
            self.start_task(self.work())

        async def work(self) -> None:
            await settle(4)
            self.ref.tell(Add(7))

        @handler
        def add(self, message: Add) -> int:
            self.reply.send(message.n)
            return 0

    ref = await system.spawn(Working)
    asked = asyncio.ensure_future(ref.ask(Defer()))
    await asyncio.sleep(0)
    ref.stop()
    assert await asked == 7


async def test_a_crash_while_draining_is_the_end(system: ActorSystem) -> None:
    ref = await system.spawn_spec(ChildSpec(factory=Recorder, restart="permanent"))
    crash, behind = (asyncio.ensure_future(ref.ask(message)) for message in (Crash(), Add(1)))
    await asyncio.sleep(0)
    ref.stop()
    for ask in (crash, behind):
        with pytest.raises(ActorDied):
            await ask
    assert (await ref.join()).kind == "crashed"


async def test_a_hook_that_hangs_is_cancelled(system: ActorSystem, clock: ManualClock) -> None:
    class Hanging(Recorder):
        async def stopping(self) -> None:
            await self.system.new_future()

    ref = await system.spawn(Hanging)
    ref.stop(drain_s=1.0)
    await clock.advance(1.0)
    assert not ref.alive
    await ref.join()


async def test_a_handler_that_swallows_its_cancellation_cannot_outlive_a_kill(system: ActorSystem) -> None:
    class Stubborn(Recorder):
        @handler
        async def hang(self, message: Hang) -> int:
            self.defer()
            try:
                await self.system.new_future()
            except asyncio.CancelledError:
                self.log.append("swallowed")
            return 0

    log: list[object] = []
    ref = await system.spawn(Stubborn, log)
    asked = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    ref.kill()
    assert (await ref.join()).kind == "killed"
    assert log == ["swallowed", "stopped killed"]
    with pytest.raises(ActorDied):
        await asked


async def test_a_handler_may_kill_its_own_actor(system: ActorSystem) -> None:
    class Suicidal(Recorder):
        @handler
        def add(self, message: Add) -> int:
            self.ref.kill()
            return message.n

    ref = await system.spawn(Suicidal)
    assert await ref.ask(Add(3)) == 3
    assert (await ref.join()).kind == "killed"


async def test_a_kill_before_the_first_step_is_heeded(system: ActorSystem) -> None:
    spawning = asyncio.ensure_future(system.spawn(Recorder, name="r"))
    await asyncio.sleep(0)
    ref = system.actor_of("r")
    ref.kill()
    await asyncio.wait([spawning])
    assert spawning.exception() is not None
    assert (await ref.join()).kind == "killed"


async def test_the_system_refuses_new_work_from_outside_but_finishes_what_it_has(clock: ManualClock) -> None:
    log: list[object] = []
    system = ActorSystem("s", clock=clock)
    last = await system.spawn(Recorder, log)
    first = await system.spawn(Recorder)
    asked = asyncio.ensure_future(first.ask(AskVia(last, Add(1))))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(system.shutdown())
    await asyncio.sleep(0)
    with pytest.raises(SystemClosed):
        await last.ask(Get())
    with pytest.raises(SystemClosed):
        last.tell(Add(1))
    with pytest.raises(SystemClosed):
        await system.spawn(Recorder)
    assert await asked == 1
    await closing
    await system.shutdown()
    assert system.ps() == ()
    assert clock.pending == 0


async def test_shutdown_ends_by_its_deadline(clock: ManualClock) -> None:
    system = ActorSystem("s", clock=clock)
    ref = await system.spawn(Recorder)
    asked = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    closing = asyncio.ensure_future(system.shutdown(drain_s=2.0))
    await clock.advance(2.0)
    await closing
    with pytest.raises(ActorDied):
        await asked


async def test_actors_stop_in_reverse_order_of_start(clock: ManualClock) -> None:
    stopped: list[str] = []

    class Ordered(Recorder):
        async def stopped(self, reason: object) -> None:
            stopped.append(self.ref.name)

    async with ActorSystem("s", clock=clock) as system:
        for name in "abc":
            await system.spawn(Ordered, name=name)
    assert stopped == ["c", "b", "a"]


async def test_nothing_is_left_of_a_system() -> None:
    tasks, threads, files = asyncio.all_tasks(), threading.active_count(), len(os.listdir("/proc/self/fd"))
    async with ActorSystem("s") as system:
        refs = [await system.spawn(Recorder) for _ in range(50)]
        await asyncio.gather(*(ref.ask(Add(1), timeout=30.0) for ref in refs))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files


async def test_a_kill_cuts_hooks_and_children_short(system: ActorSystem, clock: ManualClock) -> None:
    log: list[object] = []

    class Parent(Recorder):
        async def started(self) -> None:
            await self.spawn(Recorder, log, name="child")

        async def stopped(self, reason: object) -> None:
            log.append("parent stopping")
            await self.system.new_future()

    parent = await system.spawn(Parent, name="parent")
    child = system.actor_of("parent/child")
    asked = asyncio.ensure_future(child.ask(Hang()))
    await settle()
    parent.stop()
    await settle()
    assert log == ["hanging"]
    parent.kill()
    await settle()
    assert log == ["hanging", "cancelled", "stopped killed", "parent stopping"]
    assert isinstance(asked.exception(), ActorDied)
    await clock.advance(5.0)  # its shutdown_s, after which a hook that hangs is cancelled
    assert (await parent.join()).kind == "killed"


async def test_a_loop_that_ends_without_shutdown_restarts_nothing() -> None:
    system = ActorSystem("s")
    ref = await system.spawn_spec(ChildSpec(factory=Recorder, restart="permanent"))
    assert ref.cell.life is not None
    ref.cell.life.task.cancel()
    await ref.join()
    assert system.ps() == ()


async def test_a_watcher_that_fails_does_not_hide_a_death(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    told: list[object] = []

    def fails(ref: object, exit: object) -> None:
        raise ValueError("in a watcher")

    ref.cell.watch(fails)
    ref.cell.watch(lambda ref, exit: told.append(exit))
    ref.kill()
    assert told == [await ref.join()]


def test_every_ask_ends_however_a_stop_falls() -> None:
    async def scenario(system: ActorSystem) -> None:
        ref = await system.spawn_spec(ChildSpec(factory=Recorder, shutdown_s=0.1))

        async def ask(n: int) -> None:
            with pytest.raises(ActorDied) if n % 5 == 4 else _anything():
                await ref.ask(Hang() if n % 5 == 4 else Add(n))

        asks = [asyncio.ensure_future(ask(n)) for n in range(20)]
        await asyncio.sleep(0)
        ref.stop()
        await asyncio.gather(*asks)

    simulate(scenario, seeds=range(25))


class _anything:
    """Lets an ask be answered or not."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return kind is None or issubclass(kind, ActorDied)
