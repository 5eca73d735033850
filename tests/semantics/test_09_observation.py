"""Promise 9: one sees what every actor does, and tracing costs nothing when it is off."""

import asyncio

from aios_actors.actors import ActorSystem, ChildSpec, Supervisor, SupervisorSpec, TraceEvent
from aios_actors.actors.testing import ManualClock, settle
from tests.semantics.messages import Add, AskVia, Crash, Defer, Hang, Recorder


async def test_ps_shows_who_is_at_what_and_waits_for_whom(system: ActorSystem, clock: ManualClock) -> None:
    await system.spawn(Supervisor, SupervisorSpec(children=(ChildSpec(factory=Recorder, name="low"),)), name="top")
    low, high = system.actor_of("top/low"), await system.spawn(Recorder, name="high")
    asks = [asyncio.ensure_future(low.ask(Defer())), asyncio.ensure_future(high.ask(AskVia(low, Hang())))]
    await settle()
    low.tell(Add(1))
    low.tell(Add(1))
    await clock.advance(3.0)
    at = {process.path: process for process in system.ps()}
    assert list(at) == ["/high", "/top", "/top/low"]
    assert (at["/high"].current, at["/high"].waits_for) == ("AskVia", ("/top/low",))
    one = at["/top/low"]
    assert (one.kind, one.state, one.depth, one.current, one.current_s) == ("Recorder", "running", 2, "Hang", 3.0)
    assert (one.deferred, one.enqueued, one.processed, one.restarts) == (1, 4, 1, 0)
    for ask in asks:
        ask.cancel()


async def test_reprs_say_what_one_needs(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, name="r")
    assert repr(ref) == "<ActorRef /r Recorder running pending=0>"
    ref.tell(Add(1))
    assert repr(ref) == "<ActorRef /r Recorder running pending=1>"
    assert repr(ref.cell.mailbox) == "<Mailbox 1/1024 block control=0 blocked=0 enqueued=1 dropped=0>"
    assert ref.cell.life is not None
    assert repr(ref.cell.life.actor) == "<Recorder /r running>"
    assert repr(system) == "<ActorSystem test open actors=1 dead_letters=0>"


async def test_a_tracer_sees_lives_and_messages(clock: ManualClock) -> None:
    events: list[TraceEvent] = []
    async with ActorSystem("traced", clock=clock, tracer=events.append) as system:
        ref = await system.spawn(Recorder, name="r")
        await ref.ask(Add(1))
        ref.tell(Crash())
        await settle()
        hanging = asyncio.ensure_future(ref.ask(Hang()))
        await settle()
        hanging.cancel()
        await settle()
    assert [event.kind for event in events] == [
        "started", "handling", "handled", "handling", "raised", "ended", "started", "handling", "raised", "died",
    ]  # fmt: skip
    assert events[1].detail == Add(1)
    assert events[1].actor.path == "/r"


async def test_without_a_tracer_the_class_table_itself_is_used(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    assert ref.cell.handlers is Recorder.handlers
