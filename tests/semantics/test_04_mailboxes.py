"""Promise 4: mailboxes are bounded, by a policy; control overtakes; what is dropped is counted."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aios_actors.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    ChildSpec,
    DeadlineExceeded,
    Down,
    MailboxFull,
    MailboxSpec,
    handler,
)
from aios_actors.actors.specs import Policy
from aios_actors.actors.testing import ManualClock, settle, simulate
from tests.semantics.messages import Add, Get, Hang, Recorder

Busy = Callable[[Policy], Awaitable[tuple[ActorRef, "asyncio.Future[int]"]]]


@pytest.fixture
def busy(system: ActorSystem) -> Busy:
    """Makes an actor with a mailbox of two, whose handler hangs until the returned ask is cancelled."""

    async def make(policy: Policy) -> tuple[ActorRef, "asyncio.Future[int]"]:
        spec = ChildSpec(factory=Recorder, name="busy", mailbox=MailboxSpec(capacity=2, policy=policy))
        ref = await system.spawn_spec(spec)
        hanging = asyncio.ensure_future(ref.ask(Hang()))
        await settle()
        ref.tell(Add(1))
        ref.tell(Add(2))
        return ref, hanging

    return make


async def test_block_makes_asks_and_sends_wait_in_order(busy: Busy) -> None:
    ref, hanging = await busy("block")
    with pytest.raises(MailboxFull, match="await send"):
        ref.tell(Add(3))
    asked = asyncio.ensure_future(ref.ask(Add(4)))
    await settle()
    sent = asyncio.ensure_future(ref.send(Add(5)))
    await settle()
    assert not sent.done()
    hanging.cancel()
    assert await asked == 7
    await sent
    assert await ref.ask(Get()) == [1, 2, 4, 5]


async def test_a_blocked_ask_expires_and_a_cancelled_send_is_not_delivered(
    busy: Busy, clock: ManualClock, system: ActorSystem
) -> None:
    ref, hanging = await busy("block")
    asked = asyncio.ensure_future(ref.ask(Add(3), timeout=1.0))
    sent = asyncio.ensure_future(ref.send(Add(4)))
    await clock.advance(1.0)
    with pytest.raises(DeadlineExceeded):
        await asked
    sent.cancel()
    hanging.cancel()
    await settle()
    assert await ref.ask(Get()) == [1, 2]


async def test_reject_refuses_the_newcomer(busy: Busy) -> None:
    ref, hanging = await busy("reject")
    with pytest.raises(MailboxFull, match=r"/busy: its mailbox is full \(2 messages, policy reject\)"):
        ref.tell(Add(3))
    with pytest.raises(MailboxFull):
        await ref.ask(Add(3))
    with pytest.raises(MailboxFull):
        await ref.send(Add(3))
    hanging.cancel()
    await settle()
    assert await ref.ask(Get()) == [1, 2]


async def test_drop_oldest_answers_the_asker_of_what_it_drops(busy: Busy, system: ActorSystem) -> None:
    ref, hanging = await busy("drop_oldest")
    ref.tell(Add(3))
    asked = asyncio.ensure_future(ref.ask(Add(4)))
    await settle()
    ref.tell(Add(5))
    ref.tell(Add(6))
    with pytest.raises(MailboxFull):
        await asked
    hanging.cancel()
    await settle()
    assert await ref.ask(Get()) == [5, 6]
    assert [letter.message for letter in system.dead_letters] == [Add(1), Add(2), Add(3), Add(4)]
    assert system.dead_letters.counts == {"dropped": 4}
    assert system.ps()[0].dropped == 4


async def test_drop_newest_answers_the_newcomer(busy: Busy, system: ActorSystem) -> None:
    ref, hanging = await busy("drop_newest")
    ref.tell(Add(3))
    with pytest.raises(MailboxFull):
        await ref.ask(Add(4))
    hanging.cancel()
    await settle()
    assert await ref.ask(Get()) == [1, 2]
    assert [letter.message for letter in system.dead_letters] == [Add(3), Add(4)]


async def test_those_who_wait_for_room_are_answered_when_the_actor_dies(busy: Busy) -> None:
    ref, hanging = await busy("block")
    asked = asyncio.ensure_future(ref.ask(Add(3)))
    sent = asyncio.ensure_future(ref.send(Add(4)))
    await settle()
    ref.kill()
    for waiting in (hanging, asked, sent):
        with pytest.raises(ActorDied):
            await waiting


async def test_control_overtakes_a_full_mailbox(system: ActorSystem) -> None:
    class Watcher(Recorder):
        mailbox = MailboxSpec(capacity=2)

        @handler
        def down(self, message: Down) -> None:
            self.added.append(-1)

        async def started(self) -> None:
            self.monitor(system.actor_of("watched"))

    watched = await system.spawn(Recorder, name="watched")
    ref = await system.spawn(Watcher)
    hanging = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    ref.tell(Add(1))
    ref.tell(Add(2))
    watched.kill()
    await watched.join()
    hanging.cancel()
    await settle()
    assert await ref.ask(Get()) == [-1, 1, 2]


async def test_kill_reaches_an_actor_with_a_full_mailbox(busy: Busy) -> None:
    ref, hanging = await busy("block")
    ref.kill()
    assert (await ref.join()).kind == "killed"
    with pytest.raises(ActorDied):
        await hanging


async def test_a_handler_that_never_pauses_lets_others_run(system: ActorSystem) -> None:
    class Selfish(Actor):
        @handler
        def add(self, message: Add) -> int:
            if not stop:
                self.ref.tell(message)
            return 0

    stop: list[int] = []
    ref = await system.spawn(Selfish)
    ref.tell(Add(1))
    other = await system.spawn(Recorder)
    assert await other.ask(Add(1)) == 1
    stop.append(1)


@pytest.mark.parametrize("policy", ["block", "reject", "drop_oldest", "drop_newest"])
def test_accounts_balance_and_bounds_hold_under_any_order(policy: Policy) -> None:
    async def scenario(system: ActorSystem) -> None:
        spec = ChildSpec(factory=Recorder, mailbox=MailboxSpec(capacity=3, policy=policy))
        ref = await system.spawn_spec(spec)

        async def sender(base: int) -> None:
            for n in range(8):
                try:
                    await ref.ask(Add(base + n), timeout=1.0)
                except MailboxFull:
                    await asyncio.sleep(0.01)

        async def send_all() -> None:
            await asyncio.gather(*(ref.send(Add(n)) for n in range(100, 106)), return_exceptions=True)

        async with asyncio.TaskGroup() as group:
            for base in range(0, 60, 10):
                group.create_task(sender(base))
            group.create_task(send_all())

    simulate(scenario, seeds=range(15))
