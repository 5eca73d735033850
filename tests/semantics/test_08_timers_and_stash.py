"""Promise 8: keyed timers that never fire into a later incarnation; a bounded stash."""

import asyncio

import pytest

from aios_actors.actors import Actor, ActorSystem, MailboxSpec, Message, StashFull, handler
from aios_actors.actors.testing import ManualClock, Probe, settle
from tests.semantics.messages import Add, Crash, Get, Hang, Recorder


class Start(Message[None], frozen=True):
    key: str
    delay: float
    n: int
    repeat: bool = False


class Cancel(Message[bool], frozen=True):
    key: str


class Ticker(Recorder):
    @handler
    def start_timer(self, message: Start) -> None:
        self.timers.start(message.key, message.delay, Add(message.n), repeat=message.repeat)  # type: ignore[arg-type]

    @handler
    def cancel_timer(self, message: Cancel) -> bool:
        return self.timers.cancel(message.key)


class Open(Message[None], frozen=True):
    pass


class Door(Recorder):
    mailbox = MailboxSpec(stash=2)
    is_open = False

    @handler
    def open(self, message: Open) -> None:
        self.is_open = True
        self.unstash_all()

    @handler
    def add(self, message: Add) -> int | None:
        if not self.is_open:
            self.stash()
            return None
        return super().add(message)


async def test_a_timer_fires_once_at_its_time(system: ActorSystem, clock: ManualClock) -> None:
    ref = await system.spawn(Ticker)
    await ref.ask(Start("a", 1.0, 5))
    await clock.advance(0.5)
    assert await ref.ask(Get()) == []
    await clock.advance(0.5)
    assert await ref.ask(Get()) == [5]
    await clock.advance(5.0)
    assert await ref.ask(Get()) == [5]


async def test_a_key_holds_one_timer(system: ActorSystem, clock: ManualClock) -> None:
    ref = await system.spawn(Ticker)
    await ref.ask(Start("a", 1.0, 1))
    await ref.ask(Start("a", 2.0, 2))
    await ref.ask(Start("b", 1.0, 3))
    assert await ref.ask(Cancel("b")) is True
    assert await ref.ask(Cancel("b")) is False
    await clock.advance(3.0)
    assert await ref.ask(Get()) == [2]


async def test_a_repeating_timer_keeps_its_rhythm_and_never_piles_up(system: ActorSystem, clock: ManualClock) -> None:
    ref = await system.spawn(Ticker)
    await ref.ask(Start("a", 1.0, 1, repeat=True))
    await clock.advance(3.5)
    assert await ref.ask(Get()) == [1, 1, 1]
    hanging = asyncio.ensure_future(ref.ask(Hang()))
    await clock.advance(4.0)
    hanging.cancel()
    await settle()
    assert await ref.ask(Get()) == [1] * 4


async def test_a_fired_but_unhandled_message_can_be_cancelled(system: ActorSystem, clock: ManualClock) -> None:
    class Cancels(Ticker):
        @handler
        async def hang(self, message: Hang) -> int:
            self.timers.start("a", 1.0, Add(1))  # type: ignore[arg-type]
            await self.system.actor_of("gate").ask(Hang())
            return int(self.timers.cancel("a"))

    gate = await Probe.start(system, Hang, name="gate")
    ref = await system.spawn(Cancels)
    asked = asyncio.ensure_future(ref.ask(Hang()))
    await gate.expect(Hang)
    await clock.advance(2.0)
    gate.reply(0)
    assert await asked == 1
    assert await ref.ask(Get()) == []


async def test_no_timer_fires_into_a_later_incarnation(system: ActorSystem, clock: ManualClock) -> None:
    ref = await system.spawn(Ticker)
    await ref.ask(Start("a", 1.0, 1))
    ref.tell(Crash())
    await clock.advance(5.0)
    assert await ref.ask(Get()) == []
    assert clock.pending == 0


async def test_a_timer_for_an_undeclared_message_is_refused(system: ActorSystem) -> None:
    class Bad(Actor):
        async def started(self) -> None:
            self.timers.start("a", 1.0, Open())

    with pytest.raises(Exception, match="takes no Open"):
        await system.spawn(Bad)


async def test_stashed_messages_come_back_in_order_before_the_rest(system: ActorSystem) -> None:
    ref = await system.spawn(Door)
    asks = [asyncio.ensure_future(ref.ask(Add(n))) for n in (1, 2)]
    await settle()
    ref.tell(Open())
    ref.tell(Add(3))
    assert await ref.ask(Get()) == [1, 2, 3]
    assert await asyncio.gather(*asks) == [1, 3]


async def test_the_stash_is_bounded_and_its_askers_are_answered(system: ActorSystem) -> None:
    ref = await system.spawn(Door)
    asks = [asyncio.ensure_future(ref.ask(Add(n))) for n in (1, 2, 3)]
    with pytest.raises(StashFull, match="has stashed 2 messages"):
        await asks[2]
    ref.kill()
    results = await asyncio.gather(*asks[:2], return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["ActorDied", "ActorDied"]


async def test_stashed_messages_survive_a_restart(system: ActorSystem) -> None:
    ref = await system.spawn(Door)
    ref.tell(Add(1))
    ref.tell(Crash())
    ref.tell(Open())
    assert await ref.ask(Get()) == [1]
