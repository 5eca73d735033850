"""Passes are counted as llama.cpp makes them of a batch of split streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.passes import passes


@pytest.mark.parametrize(
    ("tokens", "count"),
    [
        ({}, 0),
        ({3: 1}, 1),
        ({0: 1, 1: 1, 2: 1}, 1),
        ({0: 1, 2: 1, 3: 1, 7: 1}, 3),
        ({0: 1, 1: 30, 2: 1}, 2),
        ({0: 1, 1: 30, 3: 1}, 3),
        ({0: 10, 1: 20, 2: 30}, 3),
        ({4: 24, 5: 24}, 1),
    ],
)
def test_neighbours_with_as_many_tokens_share_a_pass(tokens: dict[int, int], count: int) -> None:
    assert passes(tokens) == count


@given(st.dictionaries(st.integers(0, 20), st.integers(1, 40), min_size=1))
def test_a_token_in_a_gap_takes_at_most_one_pass_more_and_neighbours_share_theirs(
    tokens: dict[int, int],
) -> None:
    holes = set(range(min(tokens), max(tokens))) - set(tokens)
    for hole in holes:
        assert passes(tokens | {hole: 1}) <= passes(tokens) + 1
    assert passes(dict.fromkeys(tokens, 1) | dict.fromkeys(holes, 1)) == 1
