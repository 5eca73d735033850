"""Deadlines expire at their time, neither before nor after, and only those that are still waited for."""

import asyncio
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.actors.deadlines import SLOT_S, Alarm, Deadlines
from aios_actors.actors.envelope import Envelope
from aios_actors.actors.testing import ManualClock, SimulationLoop

times = st.lists(st.tuples(st.integers(1, 4000), st.booleans()), max_size=12)


@settings(max_examples=40)
@given(times)
def test_exactly_the_pending_expire_exactly_when_due(requests: list[tuple[int, bool]]) -> None:
    loop = SimulationLoop()
    future = partial(asyncio.Future, loop=loop)

    async def main() -> None:
        clock = ManualClock()
        deadlines = Deadlines(clock)
        under_way = []
        for milliseconds, answered in requests:
            envelope = Envelope(0, future(), None, None, milliseconds / 1000)
            slot = milliseconds / 1000 // SLOT_S
            members = deadlines.slots.get(slot)
            if members is None:
                members = deadlines.open(slot)
            members.add(envelope)
            if answered:
                envelope.answer(1)
                members.discard(envelope)
            under_way.append((milliseconds / 1000, answered, envelope))
        for when in sorted({deadline for deadline, _, _ in under_way}):
            await clock.advance(when - clock.now() - 1e-6)
            assert [e.ended for d, a, e in under_way] == [a or d < when for d, a, e in under_way]
            await clock.advance(when - clock.now() + 1e-9)
            assert [e.ended for d, a, e in under_way] == [a or d <= when for d, a, e in under_way]
        for _, answered, envelope in under_way:
            assert answered or envelope.future.exception() is not None
        await clock.advance(2 * SLOT_S)
        assert clock.pending == 0

    loop.run_until_complete(main())
    loop.close()


async def test_closing_leaves_no_call() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    envelope = Envelope(0, asyncio.get_running_loop().create_future(), None, None, 1.03)
    deadlines.open(1.03 // SLOT_S).add(envelope)
    await clock.advance(1.01)
    assert clock.pending == 1
    deadlines.close()
    assert clock.pending == 0
    await clock.advance(1.0)
    assert not envelope.ended


async def test_an_alarm_holds_one_call() -> None:
    clock, rung = ManualClock(), []
    alarm = Alarm(clock)
    alarm.set(1.0, lambda: rung.append("first"))
    alarm.set(2.0, lambda: rung.append("second"))
    await clock.advance(3.0)
    assert rung == ["second"]
    alarm.set(1.0, lambda: rung.append("third"))
    alarm.cancel()
    await clock.advance(3.0)
    assert rung == ["second"]
