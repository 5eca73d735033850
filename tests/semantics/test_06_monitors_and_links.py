"""Promise 6: exactly one Down for each monitor, at once for the dead; linked actors crash together."""

import asyncio

import pytest

from aios_actors.actors import Actor, ActorRef, ActorSystem, Down, Exit, Message, UnhandledMessage, handler
from aios_actors.actors.testing import ManualClock, settle, simulate
from tests.semantics.messages import Add, Crash, Recorder


class Watch(Message[None], frozen=True):
    ref: ActorRef
    times: int = 1


class Unwatch(Message[None], frozen=True):
    pass


class Link(Message[None], frozen=True):
    ref: ActorRef


class Lost(Message[None], frozen=True):
    name: str
    kind: str


class Watcher(Recorder):
    def __init__(self, seen: list[object]) -> None:
        super().__init__()
        self.seen = seen

    @handler
    def watch(self, message: Watch) -> None:
        self.monitors = [self.monitor(message.ref) for _ in range(message.times)]

    @handler
    def unwatch(self, message: Unwatch) -> None:
        for monitor in self.monitors:
            monitor.cancel()

    @handler
    def link_to(self, message: Link) -> None:
        self.link(message.ref)

    @handler
    def down(self, message: Down) -> None:
        self.seen.append((message.ref, message.exit.kind))


async def test_one_down_for_each_monitor(system: ActorSystem) -> None:
    seen: list[object] = []
    watched = await system.spawn(Recorder)
    watcher = await system.spawn(Watcher, seen)
    await watcher.ask(Watch(watched, times=2))
    watched.kill()
    watched.kill()
    await settle()
    assert seen == [(watched, "killed")] * 2


async def test_down_at_once_for_a_dead_actor(system: ActorSystem) -> None:
    seen: list[object] = []
    watched = await system.spawn(Recorder)
    watched.stop()
    await watched.join()
    watcher = await system.spawn(Watcher, seen)
    await watcher.ask(Watch(watched))
    await settle()
    assert seen == [(watched, "stopped")]


async def test_a_restart_is_no_death(system: ActorSystem) -> None:
    seen: list[object] = []
    watched = await system.spawn(Recorder)
    watcher = await system.spawn(Watcher, seen)
    await watcher.ask(Watch(watched))
    watched.tell(Crash())
    assert await watched.ask(Add(1)) == 1
    await settle()
    assert seen == []


async def test_a_cancelled_monitor_is_silent_and_so_is_one_of_an_earlier_incarnation(system: ActorSystem) -> None:
    seen: list[object] = []
    watched = await system.spawn(Recorder)
    watcher = await system.spawn(Watcher, seen)
    await watcher.ask(Watch(watched))
    await watcher.ask(Unwatch())
    await watcher.ask(Watch(watched))
    watcher.tell(Crash())
    await settle()
    watched.kill()
    await settle()
    assert seen == []


async def test_a_monitor_may_make_its_own_message(system: ActorSystem) -> None:
    lost: list[Lost] = []

    class Own(Actor):
        async def started(self) -> None:
            self.monitor(system.actor_of("w"), lambda ref, exit: Lost(ref.name, exit.kind))

        @handler
        def lose(self, message: Lost) -> None:
            lost.append(message)

    watched = await system.spawn(Recorder, name="w")
    await system.spawn(Own)
    watched.kill()
    await settle()
    assert lost == [Lost("w", "killed")]


async def test_a_monitor_without_a_handler_for_down_is_refused(system: ActorSystem) -> None:
    class Deaf(Recorder):
        @handler
        def watch(self, message: Watch) -> None:
            with pytest.raises(UnhandledMessage, match="takes no Down"):
                self.monitor(message.ref)

    ref = await system.spawn(Deaf)
    await ref.ask(Watch(ref))


async def test_a_linked_actor_crashes_along(system: ActorSystem) -> None:
    one = await system.spawn(Watcher, [])
    two = await system.spawn(Recorder)
    await one.ask(Link(two))
    await two.ask(Add(5))
    one.tell(Crash())
    await settle()
    assert [process.restarts for process in system.ps()] == [1, 1]
    assert await two.ask(Add(1)) == 1


async def test_a_link_is_used_up_by_a_crash(system: ActorSystem, clock: ManualClock) -> None:
    one = await system.spawn(Watcher, [], name="one")
    two = await system.spawn(Recorder, name="two")
    await one.ask(Link(two))
    for _ in range(2):
        one.tell(Crash())
        await clock.advance(1.0)
    assert [process.restarts for process in system.ps()] == [2, 1]


async def test_a_graceful_end_leaves_the_linked_actor_alone(system: ActorSystem) -> None:
    one = await system.spawn(Watcher, [])
    two = await system.spawn(Recorder)
    await one.ask(Link(two))
    one.stop()
    await one.join()
    await settle()
    assert [process.restarts for process in system.ps()] == [0]


async def test_a_link_to_a_dead_actor_crashes_at_once(system: ActorSystem) -> None:
    one = await system.spawn(Watcher, [])
    two = await system.spawn(Recorder)
    two.kill()
    await two.join()
    one.tell(Link(two))
    await settle()
    assert system.ps()[0].restarts == 1


async def test_join_tells_why_also_those_who_come_late(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    early = asyncio.ensure_future(ref.join())
    await settle()
    ref.kill()
    assert await early == await ref.join() == Exit("killed")


def test_exactly_one_down_however_death_falls() -> None:
    async def scenario(system: ActorSystem) -> None:
        seen: list[object] = []
        watched = await system.spawn(Recorder)
        watchers = [await system.spawn(Watcher, seen) for _ in range(3)]
        tasks = [asyncio.ensure_future(watcher.ask(Watch(watched))) for watcher in watchers]
        watched.kill()
        await asyncio.gather(*tasks)
        await asyncio.sleep(1)
        assert len(seen) == 3

    simulate(scenario, seeds=range(25))
