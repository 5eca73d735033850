"""Promise 1: at most once, in order for each pair, one message at a time for each actor."""

import asyncio

import pytest

from aios_actors.actors import Actor, ActorDied, ActorSystem, ChildSpec, Message, handler
from aios_actors.actors.testing import ManualClock, settle, simulate
from tests.semantics.messages import Add, Crash, Get, Recorder


class Work(Message[int], frozen=True):
    n: int


class OneAtATime(Actor):
    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    @handler
    async def work(self, message: Work) -> int:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0)
        self.inside -= 1
        return self.most


async def test_tells_arrive_in_order(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    for n in range(500):
        ref.tell(Add(n))
    assert await ref.ask(Get()) == list(range(500))


async def test_handlers_of_one_actor_never_overlap(system: ActorSystem) -> None:
    ref = await system.spawn(OneAtATime)
    assert await asyncio.gather(*(ref.ask(Work(n)) for n in range(50))) == [1] * 50


async def test_a_message_that_crashes_its_actor_is_not_delivered_again(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    ref.tell(Crash())
    ref.tell(Add(1))
    assert await ref.ask(Get()) == [1]
    assert system.dead_letters.counts == {"poison": 1}


async def test_messages_behind_a_crash_wait_for_the_next_incarnation(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    crash = asyncio.ensure_future(ref.ask(Crash()))
    added = asyncio.ensure_future(ref.ask(Add(4)))
    with pytest.raises(ActorDied) as caught:
        await crash
    assert isinstance(caught.value.__cause__, ValueError)
    assert await added == 4


async def test_a_dead_actor_gets_nothing_and_the_letter_is_counted(system: ActorSystem, clock: ManualClock) -> None:
    log: list[object] = []
    ref = await system.spawn_spec(ChildSpec(factory=Recorder, args=(log,), restart="temporary"))
    ref.kill()
    await ref.join()
    ref.tell(Add(1))
    await settle()
    assert system.dead_letters.counts == {"unreachable": 1}
    assert system.dead_letters.last[0].message == Add(1)


def test_order_holds_for_each_pair_whatever_runs_first() -> None:
    class Sender(Actor):
        @handler
        async def work(self, message: Work) -> int:
            sink = self.system.actor_of("sink")
            for n in range(20):
                await sink.send(Add(message.n * 100 + n))
                if n % 7 == 0:
                    await asyncio.sleep(0)
            return message.n

    async def scenario(system: ActorSystem) -> None:
        sink = await system.spawn(Recorder, name="sink")
        senders = [await system.spawn(Sender) for _ in range(3)]
        await asyncio.gather(*(sender.ask(Work(n)) for n, sender in enumerate(senders)))
        added = await sink.ask(Get())
        for n in range(3):
            assert [a for a in added if a // 100 == n] == [n * 100 + k for k in range(20)]

    simulate(scenario, seeds=range(20))
