"""The statistics that benchmarks report."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench.measures import jain, mean, percentile, r_squared, resident_bytes

numbers = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


@given(numbers, st.floats(0.0, 1.0))
def test_a_percentile_is_the_smallest_value_that_enough_are_not_above(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < max(share * len(values), 1)


@given(numbers)
def test_jains_index_is_between_one_nth_and_one(values: list[float]) -> None:
    assert 1 / len(values) - 1e-9 <= jain(values) <= 1 + 1e-9


def test_jains_index_of_equals_is_one_and_of_a_monopoly_one_nth() -> None:
    assert jain([3.0] * 16) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_r_squared_is_one_on_a_line_and_near_zero_off_it() -> None:
    xs = [250.0, 500.0, 1000.0, 2000.0]
    assert r_squared(xs, [2 * x + 1 for x in xs]) == pytest.approx(1.0)
    assert r_squared([-1.0, 0.0, 1.0], [1.0, 0.0, 1.0]) == pytest.approx(0.0)


def test_no_values_give_nan_and_no_error() -> None:
    assert all(math.isnan(each) for each in (mean([]), percentile([], 0.5), jain([]), r_squared([], [])))


def test_the_resident_memory_of_this_process_is_told() -> None:
    assert resident_bytes(os.getpid()) > 1 << 20
    assert resident_bytes(2**22 + 1) == 0
