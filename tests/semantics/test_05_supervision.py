"""Promise 5: supervision as in Erlang/OTP; refs survive restarts; poison is put aside."""

import asyncio
from typing import Any

import pytest

from aios_actors.actors import (
    Actor,
    ActorDied,
    ActorSystem,
    Backoff,
    ChildSpec,
    IntensityExceeded,
    StartFailed,
    Supervisor,
    SupervisorSpec,
    UnknownActor,
    handler,
)
from aios_actors.actors.specs import Restart, Strategy
from aios_actors.actors.testing import Faults, ManualClock, settle, simulate
from aios_actors.actors.testing.faults import InjectedFault
from tests.semantics.messages import Add, Crash, Get, Recorder


class Stage(Recorder):
    """Logs when it starts and stops."""

    def __init__(self, log: list[str], name: str) -> None:
        super().__init__()
        self.events = log
        self.label = name

    async def started(self) -> None:
        self.events.append(f"+{self.label}")

    async def stopped(self, reason: object) -> None:
        self.events.append(f"-{self.label}")


class Quits(Recorder):
    @handler
    def add(self, message: Add) -> int:
        self.stop()
        return message.n


def tree(log: list[str], strategy: Strategy, **more: Any) -> SupervisorSpec:
    children = tuple(ChildSpec(factory=Stage, name=name, args=(log, name), restart="permanent") for name in "abc")
    return SupervisorSpec(strategy=strategy, children=children, **more)


@pytest.mark.parametrize(
    ("strategy", "events"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
    ],
)
async def test_strategies_restart_whom_they_should_in_order(
    system: ActorSystem, strategy: Strategy, events: list[str]
) -> None:
    log: list[str] = []
    await system.spawn(Supervisor, tree(log, strategy), name="top")
    assert log == ["+a", "+b", "+c"]
    log.clear()
    b = system.actor_of("top/b")
    with pytest.raises(ActorDied):
        await b.ask(Crash())
    await settle()
    assert log == events
    assert await b.ask(Add(1)) == 1


async def test_stop_order_is_right_to_left(system: ActorSystem) -> None:
    log: list[str] = []
    top = await system.spawn(Supervisor, tree(log, "one_for_one"), name="top")
    log.clear()
    top.stop()
    await top.join()
    assert log == ["-c", "-b", "-a"]
    assert system.ps() == ()


@pytest.mark.parametrize(
    ("restart", "after_crash", "after_quit"),
    [("permanent", True, True), ("transient", True, False), ("temporary", False, False)],
)
async def test_restart_types(system: ActorSystem, restart: Restart, after_crash: bool, after_quit: bool) -> None:
    crashing = await system.spawn_spec(ChildSpec(factory=Recorder, restart=restart))
    crashing.tell(Crash())
    quitting = await system.spawn_spec(ChildSpec(factory=Quits, restart=restart))
    assert await quitting.ask(Add(3)) == 3
    await settle()
    assert (crashing.alive, quitting.alive) == (after_crash, after_quit)


async def test_a_restart_makes_a_fresh_instance_from_the_same_arguments(system: ActorSystem) -> None:
    log: list[str] = []
    ref = await system.spawn(Stage, log, "x")
    await ref.ask(Add(5))
    ref.tell(Crash())
    assert await ref.ask(Get()) == []
    assert log == ["+x", "-x", "+x"]
    assert system.ps()[0].restarts == 1


async def test_beyond_the_intensity_the_supervisor_fails_upward(system: ActorSystem) -> None:
    log: list[str] = []
    spec = tree(log, "one_for_one", intensity=2, period_s=10.0, backoff=Backoff(initial_s=0.0))
    middle = ChildSpec(factory=Supervisor, name="middle", args=(spec,), restart="temporary")
    await system.spawn(Supervisor, SupervisorSpec(children=(middle,)), name="top")
    ref = system.actor_of("top/middle/a")
    middle_ref = system.actor_of("top/middle")
    for _ in range(3):
        ref.tell(Crash())
        await settle()
    assert not ref.alive
    exit = await middle_ref.join()
    assert isinstance(exit.cause, IntensityExceeded)
    assert "/top/middle/a: more than 2 restarts in 10.0 s" in str(exit.cause)
    assert [process.path for process in system.ps()] == ["/top"]


async def test_restarts_long_ago_do_not_count(system: ActorSystem, clock: ManualClock) -> None:
    log: list[str] = []
    await system.spawn(Supervisor, tree(log, "one_for_one", intensity=1, period_s=5.0), name="top")
    ref = system.actor_of("top/a")
    for _ in range(4):
        ref.tell(Crash())
        await clock.advance(6.0)
    assert ref.alive


async def test_restarts_back_off(system: ActorSystem, clock: ManualClock) -> None:
    log: list[str] = []
    backoff = Backoff(initial_s=1.0, factor=2.0, max_s=3.0, jitter=0.0)
    spec = tree(log, "one_for_one", intensity=9, period_s=100.0, backoff=backoff)
    await system.spawn(Supervisor, spec, name="top")
    ref = system.actor_of("top/a")
    delays = []
    for _ in range(4):
        ref.tell(Crash())
        await settle()
        crashed = clock.now()
        while ref.cell.state == "restarting":
            await clock.advance(0.5)
        delays.append(clock.now() - crashed)
    assert delays == [0.0, 1.0, 2.0, 3.0]


def test_jitter_spreads_delays_around_the_mean() -> None:
    backoff = Backoff(initial_s=1.0, jitter=0.5)
    assert [backoff.delay(2, chance) for chance in (0.0, 0.5, 1.0)] == [0.5, 1.0, 1.5]


async def test_poison_is_put_aside_after_as_many_kills_as_allowed(system: ActorSystem, clock: ManualClock) -> None:
    ref = await system.spawn_spec(ChildSpec(factory=Recorder, attempts=3))
    asked = asyncio.ensure_future(ref.ask(Crash()))
    behind = asyncio.ensure_future(ref.ask(Add(1)))
    await clock.advance(1.0)
    with pytest.raises(ActorDied):
        await asked
    assert await behind == 1
    assert system.ps()[0].restarts == 3
    (letter,) = system.dead_letters.last
    assert (letter.why, letter.message, repr(letter.error)) == (
        "poison",
        Crash(),
        "ValueError('crashed on purpose')",
    )


async def test_a_message_that_kills_once_is_tried_again_when_allowed(system: ActorSystem) -> None:
    ref = await system.spawn_spec(ChildSpec(factory=Recorder, attempts=2))
    Faults().crash(ref, Add)
    assert await ref.ask(Add(5)) == 5


async def test_a_failing_start_is_the_spawners_error(system: ActorSystem) -> None:
    class BadInit(Actor):
        def __init__(self) -> None:
            raise ValueError("no such file")

    class BadStart(Actor):
        async def started(self) -> None:
            raise ValueError("no such host")

    with pytest.raises(StartFailed, match="/x: ValueError in __init__: no such file"):
        await system.spawn(BadInit, name="x")
    with pytest.raises(StartFailed, match="no such host in started"):
        await system.spawn(BadStart, name="x")
    assert system.ps() == ()
    with pytest.raises(StartFailed):
        await system.spawn(Supervisor, SupervisorSpec(children=(ChildSpec(factory=BadInit),)))


async def test_a_name_is_given_once(system: ActorSystem) -> None:
    first = await system.spawn(Recorder, name="one")
    with pytest.raises(UnknownActor, match="/one: the name is taken"):
        await system.spawn(Recorder, name="one")
    with pytest.raises(UnknownActor, match="holds a slash"):
        await system.spawn(Recorder, name="a/b")
    first.kill()
    await first.join()
    await system.spawn(Recorder, name="one")


async def test_names_are_found_and_forgotten(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, name="worker")
    system.register("alias", ref)
    assert system.actor_of("alias") is system.actor_of("worker") is system.actor_of("/worker") is ref
    with pytest.raises(UnknownActor):
        system.register("alias", ref)
    ref.kill()
    await ref.join()
    with pytest.raises(UnknownActor, match="no living actor is called 'alias'"):
        system.actor_of("alias")


async def test_a_crash_takes_the_children_along(system: ActorSystem) -> None:
    class Parent(Recorder):
        async def started(self) -> None:
            await self.spawn(Recorder, name="child")

    parent = await system.spawn(Parent, name="parent")
    child = system.actor_of("parent/child")
    parent.tell(Crash())
    await settle()
    assert not child.alive
    assert system.actor_of("parent/child") is not child


async def test_a_failing_task_crashes_its_actor(system: ActorSystem) -> None:
    class Tasked(Recorder):
        @handler
        def add(self, message: Add) -> int:
            self.start_task(self.work())
            return 1

        async def work(self) -> None:
            raise ValueError("task")

    ref = await system.spawn(Tasked)
    assert await ref.ask(Add(1)) == 1
    await settle()
    assert system.ps()[0].restarts == 1


async def test_tasks_end_with_their_incarnation(system: ActorSystem) -> None:
    ended: list[str] = []

    class Tasked(Recorder):
        async def started(self) -> None:
            self.start_task(self.work())

        async def work(self) -> None:
            try:
                await self.system.new_future()
            finally:
                ended.append("task")

        async def stopped(self, reason: object) -> None:
            ended.append("stopped")

    ref = await system.spawn(Tasked)
    await settle()
    ref.tell(Crash())
    await settle()
    assert ended == ["task", "stopped"]


def test_every_ask_ends_and_intensity_holds_under_random_faults() -> None:
    async def scenario(system: ActorSystem) -> None:
        log: list[str] = []
        spec = tree(log, "one_for_all", intensity=5, period_s=0.3)
        await system.spawn(Supervisor, spec, name="top")
        refs = [system.actor_of(f"top/{name}") for name in "abc"]
        faults = Faults()
        faults.crash(refs[0], Add, times=4)
        faults.crash_after(refs[1], Add, times=4)
        results = await asyncio.gather(
            *(refs[n % 3].ask(Add(n), timeout=2.0) for n in range(30)), return_exceptions=True
        )
        assert faults.count >= 2
        assert all(isinstance(result, (int, ActorDied)) for result in results)
        died = [result.__cause__ for result in results if isinstance(result, ActorDied)]
        assert any(isinstance(cause, InjectedFault) for cause in died)

    simulate(scenario, seeds=range(30))
