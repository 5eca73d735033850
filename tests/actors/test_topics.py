"""Topics do with slow subscribers what was agreed."""

import asyncio

import pytest

from aios_actors.actors import ActorSystem, ChildSpec, MailboxSpec, Topic
from aios_actors.actors.testing import settle
from tests.semantics.messages import Add, Get, Hang, Recorder


@pytest.mark.parametrize(("slow", "got", "still"), [("drop", [0, 1], True), ("unsubscribe", [0, 1], False)])
async def test_a_topic_does_with_a_slow_subscriber_what_was_agreed(
    system: ActorSystem, slow: str, got: list[int], still: bool
) -> None:
    topic: Topic[Add] = Topic("news")
    spec = ChildSpec(factory=Recorder, mailbox=MailboxSpec(capacity=2))
    slow_one, quick = await system.spawn_spec(spec), await system.spawn(Recorder)
    hanging = asyncio.ensure_future(slow_one.ask(Hang()))
    await settle()
    topic.subscribe(slow_one, slow)  # type: ignore[arg-type]
    topic.subscribe(quick, "drop")
    assert [await topic.publish(Add(n)) for n in range(4)] == [2, 2, 1, 1]
    hanging.cancel()
    await settle()
    assert await slow_one.ask(Get()) == got
    assert await quick.ask(Get()) == [0, 1, 2, 3]
    assert (slow_one in topic.subscribers) is still
    assert topic.dropped[slow_one] == (2 if still else 1)
    quick.kill()
    await quick.join()
    assert quick not in topic.subscribers


async def test_a_topic_waits_for_a_subscriber_that_must_not_miss_anything(system: ActorSystem) -> None:
    topic: Topic[Add] = Topic("news")
    ref = await system.spawn_spec(ChildSpec(factory=Recorder, mailbox=MailboxSpec(capacity=1)))
    hanging = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    topic.subscribe(ref, "wait")
    assert await topic.publish(Add(1)) == 1
    publishing = asyncio.ensure_future(topic.publish(Add(2)))
    await settle()
    assert not publishing.done()
    hanging.cancel()
    assert await publishing == 1
