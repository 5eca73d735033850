"""What a type checker must see; checked by test_replies.py, never run."""

from typing import assert_type

from aios_actors.actors import Actor, ActorRef, Message, Reply, RoundRobin, handler


class Add(Message[int], frozen=True):
    n: int


class Name(Message[str | None], frozen=True):
    pass


class Stop(Message[None], frozen=True):
    pass


class Adder(Actor):
    @handler
    async def add(self, message: Add) -> int:
        return message.n

    @handler
    def name(self, message: Name) -> str | None:
        return None


async def replies(ref: ActorRef, router: RoundRobin, reply: Reply[int]) -> None:
    assert_type(await ref.ask(Add(1)), int)
    assert_type(await ref.ask(Name(), timeout=1.0), str | None)
    assert_type(await ref.ask(Stop()), None)
    assert_type(await router.ask(Add(n=1)), int)
    reply.send(1)


async def mistakes(ref: ActorRef, reply: Reply[int]) -> None:
    text: str = await ref.ask(Add(1))  # E: arg-type
    await ref.ask(1)  # E: arg-type
    ref.tell("no message")  # E: arg-type
    Add("one")  # E: arg-type
    Add(1).n = 2  # E: misc
    reply.send(text)  # E: arg-type
