"""The moves that make neighbours of sequences are few, and right."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.neighbours import closest
from aios_actors.engine.passes import passes


def test_an_outlier_moves_to_the_others() -> None:
    assert closest([1, 2, 6], [0] * 8) in ([(6, 0)], [(6, 3)])


def test_a_gap_is_closed_from_outside() -> None:
    assert closest([0, 1, 2, 4, 5, 6], [10] * 6 + [9]) == [(6, 3)]


def test_of_as_many_moves_those_of_the_fewest_tokens_are_made() -> None:
    assert closest([1, 2, 6], [500, 100, 100, 20, 0, 0, 100]) == [(6, 3)]
    assert closest([1, 2, 6], [20, 100, 100, 500, 0, 0, 100]) == [(6, 0)]


@given(lengths=st.lists(st.integers(0, 50), min_size=1, max_size=7), data=st.data())
def test_no_fewer_moves_would_do(lengths: list[int], data: st.DataObject) -> None:
    numbers = range(len(lengths))
    busy = sorted(data.draw(st.sets(st.sampled_from(numbers), min_size=1)))
    moves = closest(busy, lengths)
    after = set(busy) - {source for source, _ in moves} | {target for _, target in moves}
    assert len(after) == len(busy) and passes(dict.fromkeys(after, 1)) == 1
    fewest = min(
        len(set(busy) - set(end))
        for end in itertools.combinations(numbers, len(busy))
        if passes(dict.fromkeys(end, 1)) == 1
    )
    assert len(moves) == fewest
