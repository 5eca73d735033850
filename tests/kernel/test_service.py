"""Who the caller of a syscall is."""

import pytest

from aios_actors.actors import Actor, ActorRef, ActorSystem, Message, handler
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls.errors import AccessDenied


class WhoAmI(Message[str], frozen=True):
    """Asks for the caller's name."""


class Ask(Message[str], frozen=True):
    """Have the actor ask `target`."""

    target: ActorRef


class Service(KernelActor):
    @handler
    def who(self, message: WhoAmI) -> str:
        return self.caller


class Door(KernelActor):
    """Forwards, as the scheduler does."""

    @handler
    def who(self, message: WhoAmI) -> None:
        self.forward(self.system.actor_of("service"), message)


class Agent(Actor):
    """An agent with a child actor of its own."""

    def __init__(self, child: str = "") -> None:
        self.child = child

    async def started(self) -> None:
        if self.child:
            await self.spawn(Agent, name=self.child)

    @handler
    async def ask(self, message: Ask) -> str:
        return await message.target.ask(WhoAmI())


class Agents(Actor):
    async def started(self) -> None:
        await self.spawn(Agent, "helper", name="ann")


async def test_the_caller_is_the_agent_also_through_a_forward_and_for_its_children() -> None:
    async with ActorSystem("test") as system:
        service = await system.spawn(Service, name="service")
        door = await system.spawn(Door, name="scheduler")
        await system.spawn(Agents, name="agents")
        for target in (service, door):
            assert await target.ask(WhoAmI()) == "operator"
            assert await system.actor_of("agents/ann").ask(Ask(target)) == "ann"
            assert await system.actor_of("agents/ann/helper").ask(Ask(target)) == "ann"


async def test_other_actors_have_no_identity() -> None:
    async with ActorSystem("test") as system:
        service = await system.spawn(Service, name="service")
        stranger = await system.spawn(Agent, "ann", name="stranger")
        for name in ("stranger", "stranger/ann"):
            with pytest.raises(AccessDenied, match=f"actor /{name} is no agent, so it has no rights"):
                await system.actor_of(name).ask(Ask(service))
        assert stranger.alive
