"""Promise 3: deadlines travel and nest, cancelled callers cancel, the dead answer at once, cycles are refused."""

import asyncio

import pytest

from aios_actors.actors import Actor, ActorDied, ActorSystem, AskCycle, DeadlineExceeded, Message, StartFailed, handler
from aios_actors.actors.testing import ManualClock, Probe, settle, simulate
from tests.semantics.messages import Add, AskVia, Defer, Get, Hang, Recorder


class Deadline(Message[float], frozen=True):
    pass


class Teller(Actor):
    @handler
    def deadline_of(self, message: Deadline) -> float:
        return -1.0 if self.deadline is None else self.deadline


class Nested(Message[float], frozen=True):
    timeout: float | None


class Nester(Actor):
    def __init__(self, teller: object) -> None:
        self.teller = teller

    @handler
    async def nested(self, message: Nested) -> float:
        return await self.teller.ask(Deadline(), timeout=message.timeout)  # type: ignore[attr-defined,no-any-return]


async def test_a_nested_ask_takes_the_earlier_deadline(system: ActorSystem, clock: ManualClock) -> None:
    await clock.advance(100.0)
    teller = await system.spawn(Teller)
    nester = await system.spawn(Nester, teller)
    assert await nester.ask(Nested(None)) == -1.0
    assert await nester.ask(Nested(None), timeout=5.0) == 105.0
    assert await nester.ask(Nested(2.0), timeout=5.0) == 102.0
    assert await nester.ask(Nested(9.0), timeout=5.0) == 105.0


async def test_the_deadline_is_exact(system: ActorSystem, clock: ManualClock) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    asked = asyncio.ensure_future(ref.ask(Hang(), timeout=1.01))
    await clock.advance(1.0)
    assert not asked.done()
    await clock.advance(0.01)
    with pytest.raises(DeadlineExceeded, match="Hang"):
        await asked
    assert log == ["hanging", "cancelled"]


async def test_work_that_expired_while_it_waited_is_skipped(system: ActorSystem, clock: ManualClock) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    hanging = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    expired = asyncio.ensure_future(ref.ask(Add(1), timeout=1.0))
    await clock.advance(2.0)
    with pytest.raises(DeadlineExceeded):
        await expired
    hanging.cancel()
    assert await ref.ask(Get()) == []
    assert system.ps()[0].skipped == 1


async def test_a_cancelled_caller_cancels_the_handler_and_the_actor_lives(system: ActorSystem) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    asked = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    asked.cancel()
    assert await ref.ask(Add(1)) == 1
    assert log == ["hanging", "cancelled"]
    assert system.ps()[0].restarts == 0


async def test_cancellation_goes_through_a_chain_of_asks(system: ActorSystem) -> None:
    log: list[object] = []
    last = await system.spawn(Recorder, log)
    middle = await system.spawn(Recorder)
    asked = asyncio.ensure_future(middle.ask(AskVia(last, Hang())))
    await settle()
    asked.cancel()
    assert await middle.ask(Add(1)) == 1
    assert await last.ask(Add(1)) == 1
    assert log == ["hanging", "cancelled"]


async def test_the_holder_of_a_deferred_reply_learns_that_it_is_unwanted(
    system: ActorSystem, clock: ManualClock
) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    asked = asyncio.ensure_future(ref.ask(Defer(), timeout=1.0))
    await clock.advance(1.0)
    with pytest.raises(DeadlineExceeded):
        await asked
    reply, unwanted = log
    assert unwanted == "unwanted"
    assert reply.done  # type: ignore[attr-defined]
    reply.send(1)  # type: ignore[attr-defined]
    assert system.late_replies == 1


async def test_asking_a_dead_actor_fails_at_once(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, name="r")
    ref.kill()
    await ref.join()
    with pytest.raises(ActorDied, match=r"/r is dead \(killed\)"):
        await ref.ask(Add(1))


async def test_what_waits_in_a_killed_actors_mailbox_fails(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    asks = [asyncio.ensure_future(ref.ask(message)) for message in (Hang(), Add(1), Add(2))]
    await settle()
    ref.kill()
    for ask in asks:
        with pytest.raises(ActorDied):
            await ask


async def test_a_cycle_of_asks_is_refused_with_its_names(system: ActorSystem) -> None:
    a = await system.spawn(Recorder, name="a")
    b = await system.spawn(Recorder, name="b")
    c = await system.spawn(Recorder, name="c")
    with pytest.raises(AskCycle, match="c -> a -> b -> c"):
        await a.ask(AskVia(b, AskVia(c, AskVia(a, Add(1)))))
    with pytest.raises(AskCycle, match="a -> a"):
        await a.ask(AskVia(a, Add(1)))
    assert await a.ask(AskVia(b, AskVia(c, Add(1)))) == 1


async def test_an_ask_from_a_task_is_no_cycle(system: ActorSystem) -> None:
    class Later(Actor):
        @handler
        def defer_to_task(self, message: Defer) -> None:
            reply = self.defer()

            async def work() -> None:
                reply.send(await self.ref.ask(Add(5)))

            self.start_task(work())

        @handler
        def add(self, message: Add) -> int:
            return message.n

    ref = await system.spawn(Later)
    assert await ref.ask(Defer()) == 5


async def test_a_forward_that_would_close_a_cycle_is_refused(system: ActorSystem) -> None:
    class Back(Actor):
        @handler
        def back(self, message: Add) -> None:
            assert self.sender is not None
            self.forward(self.sender, message)

    back = await system.spawn(Back, name="back")
    asker = await system.spawn(Recorder, name="asker")
    with pytest.raises(AskCycle, match="asker -> asker"):
        await asker.ask(AskVia(back, Add(1)))


async def test_a_child_that_asks_its_spawning_parent_is_refused(system: ActorSystem) -> None:
    class Child(Actor):
        async def started(self) -> None:
            await self.system.actor_of("parent").ask(Add(1))

    class Parent(Recorder):
        @handler
        async def hang(self, message: Hang) -> int:
            await self.spawn(Child, name="child")
            return 0

    parent = await system.spawn(Parent, name="parent")
    with pytest.raises(ActorDied) as caught:
        await parent.ask(Hang())
    failed = caught.value.__cause__
    assert isinstance(failed, StartFailed)
    assert isinstance(failed.__cause__, AskCycle)
    assert failed.__cause__.cycle == ("child", "parent", "child")


async def test_a_handler_that_shields_itself_from_cancellation_keeps_its_actor(
    system: ActorSystem, clock: ManualClock
) -> None:
    class Stubborn(Recorder):
        @handler
        async def hang(self, message: Hang) -> int:
            try:
                await self.system.new_future()
            except asyncio.CancelledError:
                return 7
            return 0

    ref = await system.spawn(Stubborn)
    asked = asyncio.ensure_future(ref.ask(Hang(), timeout=1.0))
    await clock.advance(1.0)
    with pytest.raises(DeadlineExceeded):
        await asked
    assert await ref.ask(Add(1)) == 1
    assert system.late_replies == 1


def test_a_refused_cycle_leaves_nothing_open() -> None:
    async def scenario(system: ActorSystem) -> None:
        one, two = await system.spawn(Recorder), await system.spawn(Recorder)
        asks = [one.ask(AskVia(two, AskVia(one, Add(1)))), two.ask(AskVia(one, AskVia(two, Add(1))))]
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(result, AskCycle) for result in results)

    simulate(scenario, seeds=range(20))


def test_every_ask_ends_however_deadlines_and_cancellation_fall() -> None:
    async def scenario(system: ActorSystem) -> None:
        probe = await Probe.start(system, Add)
        middle = await system.spawn(Recorder)
        asks = [asyncio.ensure_future(middle.ask(AskVia(probe.ref, Add(n)), timeout=0.1 * (n % 4))) for n in range(12)]
        await asyncio.sleep(0.15)
        for ask in asks[::3]:
            ask.cancel()
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(result, (DeadlineExceeded, asyncio.CancelledError)) for result in results)

    simulate(scenario, seeds=range(40))
