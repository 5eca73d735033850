"""Promise 10: tools that find mistakes, by the same seed again."""

import asyncio

import pytest

from aios_actors.actors import Actor, ActorDied, ActorSystem, handler
from aios_actors.actors.testing import Deadlock, Faults, ManualClock, Probe, SimulationFailed, SimulationLoop, simulate
from aios_actors.actors.testing.faults import InjectedFault
from tests.semantics.messages import Add, Get, Recorder, Refuse, Sorry


def test_a_race_is_found_and_its_seed_finds_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    async def racy(system: ActorSystem) -> None:
        ref = await system.spawn(Recorder)
        await asyncio.gather(ref.ask(Add(1)), ref.ask(Add(2)))
        assert await ref.ask(Get()) == [1, 2]

    with pytest.raises(SimulationFailed, match="seed") as caught:
        simulate(racy, seeds=range(50))
    seed = caught.value.seed
    assert f"simulation failed with seed {seed}" in capsys.readouterr().out
    with pytest.raises(SimulationFailed):
        simulate(racy, seeds=[seed])


def test_a_seed_repeats_the_run_step_by_step() -> None:
    def run(seed: int) -> tuple[list[int], int]:
        order: list[int] = []

        async def one(n: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0.1)
                order.append(n)

        async def main() -> None:
            await asyncio.gather(*(one(n) for n in range(5)))

        loop = SimulationLoop(seed)
        loop.run_until_complete(main())
        loop.close()
        return order, loop.steps

    assert run(7) == run(7)
    assert len({tuple(run(seed)[0]) for seed in range(5)}) > 1


def test_time_is_virtual_and_exact() -> None:
    loop = SimulationLoop()

    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(main()) == 3600
    loop.close()


def test_a_hang_is_reported_as_a_deadlock() -> None:
    class Never(Actor):
        @handler
        def add(self, message: Add) -> None:
            self.defer()

    async def hangs(system: ActorSystem) -> None:
        ref = await system.spawn(Never)
        await ref.ask(Add(1))

    with pytest.raises(SimulationFailed) as caught:
        simulate(hangs, seeds=[1])
    assert isinstance(caught.value.__cause__, Deadlock)


def test_a_task_left_behind_breaks_an_invariant() -> None:
    async def forgets(system: ActorSystem) -> None:
        tasks.append(asyncio.ensure_future(asyncio.sleep(3600)))

    tasks: list[object] = []
    with pytest.raises(SimulationFailed, match="task left"):
        simulate(forgets, seeds=[1])


async def test_the_probe_fails_a_test_that_expects_wrongly(system: ActorSystem) -> None:
    probe = await Probe.start(system, Add, Refuse)
    with pytest.raises(AssertionError, match="nothing came"):
        await probe.expect(Add, within=0.0)
    probe.ref.tell(Add(1))
    with pytest.raises(AssertionError, match=r"expected nothing, got Add\(n=1\)"):
        await probe.expect_nothing()
    with pytest.raises(AssertionError, match=r"expected Refuse, got Add\(n=1\)"):
        await probe.expect(Refuse)


async def test_the_probe_can_refuse_and_sees_cancellation(system: ActorSystem) -> None:
    probe = await Probe.start(system, Refuse)
    asked = asyncio.ensure_future(probe.ref.ask(Refuse()))
    await probe.expect(Refuse)
    probe.refuse(Sorry("no"))
    with pytest.raises(Sorry):
        await asked
    asked = asyncio.ensure_future(probe.ref.ask(Refuse()))
    await probe.expect(Refuse)
    asked.cancel()
    await probe.expect_nothing()
    assert probe.cancelled


async def test_faults_strike_as_often_as_told(system: ActorSystem, clock: ManualClock) -> None:
    faults = Faults()
    ref = await system.spawn(Recorder)
    faults.crash(ref, Add)
    with pytest.raises(ActorDied) as caught:
        await ref.ask(Add(1))
    assert isinstance(caught.value.__cause__, InjectedFault)
    assert await ref.ask(Add(2)) == 2
    faults.crash_after(ref, Add)
    with pytest.raises(ActorDied):
        await ref.ask(Add(3))
    await clock.advance(1.0)
    for fault in (faults.lose, faults.hang):
        fault(ref, Add)
        asked = asyncio.ensure_future(ref.ask(Add(4), timeout=1.0))
        await clock.advance(0.9)
        assert not asked.done()
        await clock.advance(0.2)
        assert asked.exception() is not None
    assert await ref.ask(Add(5)) == 5
    assert faults.count == 4
    with pytest.raises(ValueError, match="takes no Sorry"):
        faults.crash(ref, Sorry)


async def test_the_manual_clock_calls_in_order_and_forgets_what_was_cancelled() -> None:
    clock, called = ManualClock(), []
    clock.call_at(2.0, lambda: called.append((2, clock.now())))
    clock.call_at(1.0, lambda: called.append((1, clock.now())))
    clock.call_at(1.5, lambda: called.append((0, clock.now()))).cancel()
    assert clock.pending == 2
    await clock.advance(1.5)
    assert called == [(1, 1.0)]
    await clock.advance(10.0)
    assert called == [(1, 1.0), (2, 2.0)]
    assert clock.now() == 11.5
