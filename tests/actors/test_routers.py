"""Routers choose as they say, and forget the dead."""

import asyncio
from collections import Counter

import pytest

from aios_actors.actors import ActorDied, ActorSystem, Broadcast, ConsistentHash, LeastPending, NoMember, RoundRobin
from aios_actors.actors.testing import settle
from tests.semantics.messages import Add, Get, Hang, Recorder


async def test_round_robin_takes_turns_and_forgets_the_dead(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder) for _ in range(3)]
    router = RoundRobin(refs)
    for n in range(6):
        await router.ask(Add(n))
    assert [await ref.ask(Get()) for ref in refs] == [[0, 3], [1, 4], [2, 5]]
    refs[0].kill()
    await refs[0].join()
    assert router.members == tuple(refs[1:])
    for ref in refs[1:]:
        router.remove(ref)
    with pytest.raises(NoMember):
        router.tell(Add(1))


async def test_least_pending_avoids_the_busy(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder) for _ in range(2)]
    busy = asyncio.ensure_future(refs[0].ask(Hang()))
    await settle()
    router = LeastPending(refs)
    for n in range(3):
        await router.ask(Add(n))
    assert await refs[1].ask(Get()) == [0, 1, 2]
    busy.cancel()


async def test_consistent_hash_keeps_keys_and_moves_few(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder, name=f"m{n}") for n in range(8)]
    router = ConsistentHash(refs, key=lambda message: str(message.n), bound=float("inf"))
    before = [router.choose(Add(n)) for n in range(400)]
    assert before == [router.choose(Add(n)) for n in range(400)]
    assert max(Counter(before).values()) < 2.5 * 400 / 8
    router.remove(refs[3])
    after = [router.choose(Add(n)) for n in range(400)]
    assert all(a is b or b is refs[3] for a, b in zip(after, before, strict=True))


async def test_consistent_hash_bounds_the_load(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder) for _ in range(4)]
    router = ConsistentHash(refs, key=lambda message: "hot", bound=1.25)
    for n in range(80):
        router.tell(Add(n))
    assert max(ref.pending for ref in refs) <= 26
    assert sum(ref.pending for ref in refs) == 80


async def test_broadcast_reaches_all(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder) for _ in range(3)]
    router = Broadcast(refs)
    router.tell(Add(1))
    await router.send(Add(2))
    assert await router.ask_all(Add(3)) == [6, 6, 6]


async def test_one_failing_answer_fails_a_broadcast_ask_and_cancels_the_rest(system: ActorSystem) -> None:
    log: list[object] = []
    hanging, dead = await system.spawn(Recorder, log), await system.spawn(Recorder)
    router = Broadcast([hanging, dead])
    asked = asyncio.ensure_future(router.ask_all(Hang()))
    await settle()
    dead.kill()
    with pytest.raises(ActorDied):
        await asked
    await settle()
    assert log == ["hanging", "cancelled"]


async def test_a_dead_actor_does_not_join(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    ref.kill()
    await ref.join()
    assert RoundRobin([ref]).members == ()
