"""Actors that live on demand: activated by mail, passivated when idle, never losing a message in between."""

import asyncio

import pytest

from aios_actors.actors import Activation, Actor, ActorId, ActorSystem, Down, UnknownActor, handler
from aios_actors.actors.testing import ManualClock, settle
from tests.semantics.messages import Add, Recorder


class Account(Recorder):
    lives: list[str]

    def __init__(self, key: str, lives: list[str]) -> None:
        super().__init__()
        self.key = key
        self.lives = lives

    async def started(self) -> None:
        self.lives.append(f"+{self.key}")

    async def stopped(self, reason: object) -> None:
        self.lives.append(f"-{self.key}")


async def test_an_actor_is_activated_by_mail_and_passivated_when_idle(system: ActorSystem, clock: ManualClock) -> None:
    lives: list[str] = []
    activation = Activation(system)
    activation.register("account", Account, idle_s=10.0, lives=lives)
    ref = activation.ref(ActorId("account", "7"))
    assert activation.ref(ActorId("account", "7")) is ref
    assert (lives, system.ps()[0].state) == ([], "dormant")
    assert await ref.ask(Add(1)) == 1
    await clock.advance(9.0)
    assert await ref.ask(Add(1)) == 2
    await clock.advance(10.0)
    assert lives == ["+7"]
    await clock.advance(10.0)
    assert (lives, system.ps()[0].state, ref.alive) == (["+7", "-7"], "dormant", True)
    assert await ref.ask(Add(1)) == 1
    assert lives == ["+7", "-7", "+7"]


async def test_mail_that_meets_a_passivation_is_not_lost_and_no_down_is_seen(
    system: ActorSystem, clock: ManualClock
) -> None:
    downs: list[object] = []

    class Watcher(Actor):
        async def started(self) -> None:
            self.monitor(activation.ref(ActorId("account", "7")))

        @handler
        def down(self, message: Down) -> None:
            downs.append(message)

    class Slow(Account):
        async def stopping(self) -> None:
            await gate

    gate = system.new_future()
    activation = Activation(system)
    activation.register("account", Slow, idle_s=1.0, lives=[])
    ref = activation.ref(ActorId("account", "7"))
    await system.spawn(Watcher)
    await ref.ask(Add(1))
    ref.cell.passivate()
    assert await ref.ask(Add(5)) == 6
    await settle()
    asked = asyncio.ensure_future(ref.ask(Add(5)))
    await settle()
    gate.set_result(None)
    assert await asked == 5
    assert downs == []
    ref.cell.passivate()
    ref.stop()
    await ref.join()
    await settle()
    assert len(downs) == 1


async def test_a_dormant_actor_can_be_stopped_and_an_unknown_type_is_named(system: ActorSystem) -> None:
    activation = Activation(system)
    activation.register("account", Account, idle_s=1.0, lives=[])
    ref = activation.ref(ActorId("account", "1"))
    ref.stop()
    assert (await ref.join()).kind == "stopped"
    with pytest.raises(UnknownActor, match="no actor type is called 'acount'; registered: account"):
        activation.ref(ActorId("acount", "1"))
    with pytest.raises(UnknownActor):
        activation.register("account", Account, idle_s=1.0)
