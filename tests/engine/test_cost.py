"""The cost model finds the line behind the steps, and its budget keeps a step within twice its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.cost import CostModel


@given(start=st.floats(0.001, 0.1), slope=st.floats(1e-5, 1e-2), sizes=st.lists(st.integers(1, 512), min_size=3))
def test_it_finds_the_line(start: float, slope: float, sizes: list[int]) -> None:
    model = CostModel()
    for size in [*sizes, 1, 300]:
        model.observe(size, start + slope * size)
    line = model.line()
    assert line is not None
    assert line == pytest.approx((start, slope), rel=1e-3, abs=1e-6)
    decoding = 8
    budget = model.prefill_budget(decoding)
    alone = start + slope * decoding
    assert budget == 16 or start + slope * (decoding + budget) <= 2 * alone * 1.001


def test_without_two_different_sizes_there_is_no_line() -> None:
    model = CostModel()
    for _ in range(20):
        model.observe(8, 0.01)
    assert model.line() is None
    assert model.prefill_budget(8) > 0


def test_it_follows_a_machine_that_becomes_slower() -> None:
    model = CostModel()
    for seconds in (0.001, 0.01):
        for size in [8, 100] * 200:
            model.observe(size, seconds * size)
    line = model.line()
    assert line is not None and line[1] == pytest.approx(0.01, rel=0.05)


def test_nonsense_from_a_busy_machine_gives_no_line() -> None:
    model = CostModel()
    for size, seconds in ((1, 1.0), (500, 0.1)):
        model.observe(size, seconds)
    assert model.line() is None
