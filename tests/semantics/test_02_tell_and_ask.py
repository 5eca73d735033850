"""Promise 2: typed tell and ask; what an actor does not declare is refused where it is sent."""

import asyncio
import gc

import pytest

from aios_actors.actors import Actor, ActorDied, ActorRef, ActorSystem, BadActor, Message, UnhandledMessage, handler
from aios_actors.actors.testing import Probe, settle
from tests.semantics.messages import Add, Crash, Defer, Get, Recorder, Refuse, Sorry


class Unknown(Message[None], frozen=True):
    pass


class Who(Message[str], frozen=True):
    pass


class Through(Message[str], frozen=True):
    ref: ActorRef


class Middle(Actor):
    @handler
    def through(self, message: Through) -> None:
        self.forward(message.ref, Who())


class Named(Actor):
    @handler
    def who(self, message: Who) -> str:
        return "nobody" if self.sender is None else self.sender.name


class Curious(Actor):
    @handler
    async def through(self, message: Through) -> str:
        return await message.ref.ask(Through(self.system.actor_of("named")))


async def test_ask_returns_the_handlers_value(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    assert await ref.ask(Add(2)) == 2
    assert await ref.ask(Add(3)) == 5


async def test_an_undeclared_message_is_refused_at_the_send(system: ActorSystem) -> None:
    ref = await system.spawn(Named, name="named")
    with pytest.raises(UnhandledMessage, match=r"/named takes no Unknown; it takes: Who"):
        ref.tell(Unknown())
    with pytest.raises(UnhandledMessage):
        await ref.ask(Unknown())
    with pytest.raises(UnhandledMessage):
        await ref.send(Unknown())


async def test_a_subclass_of_a_declared_message_is_another_message(system: ActorSystem) -> None:
    class Louder(Add, frozen=True):
        pass

    ref = await system.spawn(Recorder)
    with pytest.raises(UnhandledMessage, match="Louder"):
        ref.tell(Louder(1))


async def test_a_refusal_is_a_reply_and_the_actor_lives_on(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    await ref.ask(Add(1))
    with pytest.raises(Sorry, match="no"):
        await ref.ask(Refuse())
    assert await ref.ask(Add(1)) == 2


async def test_a_crash_is_told_to_the_asker_at_once_with_its_cause(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, name="r")
    with pytest.raises(ActorDied, match="/r died") as caught:
        await ref.ask(Crash())
    assert str(caught.value.__cause__) == "crashed on purpose"


async def test_the_sender_is_stamped_and_kept_over_a_forward(system: ActorSystem) -> None:
    named = await system.spawn(Named, name="named")
    middle = await system.spawn(Middle)
    curious = await system.spawn(Curious, name="curious")
    assert await named.ask(Who()) == "nobody"
    assert await middle.ask(Through(named)) == "nobody"
    assert await curious.ask(Through(middle)) == "curious"


async def test_a_deferred_reply_answers_later_and_once(system: ActorSystem) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)
    asked = asyncio.ensure_future(ref.ask(Defer()))
    assert await ref.ask(Add(1)) == 1
    (reply,) = log
    reply.send(42)  # type: ignore[attr-defined]
    reply.send(43)  # type: ignore[attr-defined]
    assert await asked == 42
    assert system.late_replies == 1


@pytest.mark.parametrize("answered", [True, False])
async def test_a_deferred_reply_that_has_ended_leaves_nothing_for_the_garbage_collector(
    system: ActorSystem, answered: bool
) -> None:
    log: list[object] = []
    ref = await system.spawn(Recorder, log)

    async def ask() -> None:
        asked = asyncio.ensure_future(ref.ask(Defer()))
        await settle()
        reply = log.pop()
        if answered:
            reply.send(1)  # type: ignore[attr-defined]
            assert await asked == 1
        else:
            asked.cancel()
            await settle()
            assert log.pop() == "unwanted"

    await ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await ask()
        assert gc.collect() < 50, "each of them would have been several objects that refer to each other"
    finally:
        gc.enable()


async def test_the_asker_of_a_deferred_reply_learns_of_a_crash(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    asked = asyncio.ensure_future(ref.ask(Defer()))
    await settle()
    ref.tell(Crash())
    with pytest.raises(ActorDied):
        await asked


async def test_a_probe_answers_for_an_actor(system: ActorSystem) -> None:
    probe = await Probe.start(system, Add)
    asked = asyncio.ensure_future(probe.ref.ask(Add(3)))
    assert (await probe.expect(Add)).n == 3
    probe.reply(7)
    assert await asked == 7
    await probe.expect_nothing()


async def test_reply_to_a_tell_goes_nowhere(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    ref.tell(Refuse())
    ref.tell(Defer())
    assert await ref.ask(Get()) == []
    assert system.dead_letters.counts == {"refused": 1}


def test_a_class_with_a_mistake_is_refused() -> None:
    with pytest.raises(BadActor, match=r"NoAnnotation.*take: annotate message with the Message type"):

        class NoAnnotation(Actor):
            @handler
            def take(self, message):  # type: ignore[no-untyped-def]
                """Has no annotation."""

    with pytest.raises(BadActor, match="is no concrete Message"):

        class NoMessage(Actor):
            @handler
            def take(self, message: int) -> None:
                """Takes something else."""

    with pytest.raises(BadActor, match=r"one and two both handle Add; keep one"):

        class Twice(Actor):
            @handler
            def one(self, message: Add) -> int:
                return 1

            @handler
            def two(self, message: Add) -> int:
                return 2

    with pytest.raises(BadActor, match=r"returns str, but Add is a Message\[int\]"):

        class WrongReply(Actor):
            @handler
            def take(self, message: Add) -> str:
                return ""

    with pytest.raises(BadActor, match=r"takes Add but has no @handler"):

        class Missing(Actor):
            takes = (Add,)

    with pytest.raises(BadActor, match="self and one message"):

        class TwoArguments(Actor):
            @handler
            def take(self, message: Add, more: int) -> int:
                return more


async def test_handlers_are_inherited_and_may_be_overridden(system: ActorSystem) -> None:
    class Doubler(Recorder):
        def add(self, message: Add) -> int:
            return message.n * 2

    ref = await system.spawn(Doubler)
    assert await ref.ask(Add(4)) == 8
    assert await ref.ask(Get()) == []


async def test_one_handler_may_take_several_messages(system: ActorSystem) -> None:
    class Both(Actor):
        @handler
        def take(self, message: Who | Through) -> str:
            return type(message).__name__

    ref = await system.spawn(Both)
    assert await ref.ask(Who()) == "Who"
    assert await ref.ask(Through(ref)) == "Through"
