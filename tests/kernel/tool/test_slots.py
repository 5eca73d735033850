"""Slots: order, cancellation, and calls that hang."""

import asyncio

import pytest

from aios_actors.kernel.tool.slots import Slots
from aios_actors.syscalls.errors import ToolTimeout


async def settle() -> None:
    """Lets every task run as far as it gets."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waiting_callers_get_slots_in_order() -> None:
    slots = Slots("t", 2)
    order: list[int] = []

    async def caller(number: int) -> None:
        await slots.take()
        order.append(number)

    tasks = [asyncio.create_task(caller(number)) for number in range(5)]
    await settle()
    assert order == [0, 1]
    for taken in range(2, 5):
        slots.give()
        await settle()
        assert order == list(range(taken + 1))
    assert slots.running == 2
    slots.give()
    slots.give()
    assert slots.running == 0
    await asyncio.gather(*tasks)


async def test_a_cancelled_caller_takes_no_slot() -> None:
    slots = Slots("t", 1)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    late = asyncio.create_task(slots.take())
    await settle()
    waiting.cancel()
    await settle()
    slots.give()
    await late
    assert slots.running == 1


async def test_a_caller_cancelled_as_its_turn_comes_passes_the_slot_on() -> None:
    slots = Slots("t", 1)
    await slots.take()
    first, second = asyncio.create_task(slots.take()), asyncio.create_task(slots.take())
    await settle()
    slots.give()
    first.cancel()
    await second
    assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)
    slots.give()
    assert (slots.running, repr(slots)) == (0, "<Slots 0/1 hanging=0 waiting=0>")


async def test_when_all_slots_hang_everyone_is_refused_until_one_ends() -> None:
    slots = Slots("t", 2)
    await slots.take()
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await settle()
    slots.hang()
    await settle()
    assert not waiting.done()
    slots.hang()
    with pytest.raises(ToolTimeout, match='tool "t" hangs: 2 calls passed their time limit'):
        await waiting
    with pytest.raises(ToolTimeout):
        await slots.take()
    slots.unhang()
    await slots.take()
    assert (slots.running, slots.hanging) == (2, 1)
