"""Fixtures of the runtime's tests: a system in manual time, and no test in real time."""

from collections.abc import AsyncIterator

import pytest

from aios_actors.actors import ActorSystem
from aios_actors.actors.testing import ManualClock


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def system(clock: ManualClock) -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", clock=clock, seed=1, drain_s=0) as system:
        yield system
