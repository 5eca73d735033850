"""Names, numbers and paths: each belongs to one split, and no name starts like a word with a token of its own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.nano import words
from aios_actors.nano.words import SPACED_WORDS, Split, split_of

DRAWS = (words.nonsense, words.code, words.path, words.decimal)


@pytest.mark.parametrize("draw", DRAWS)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(Split))
def test_what_is_drawn_belongs_to_the_split_asked_for(draw, seed, split):
    assert split_of(draw(random.Random(seed), split)) is split.names


@given(seed=st.integers(0, 2**32))
def test_held_out_numbers_are_never_in_training(seed):
    rng = random.Random(seed)
    held_out = words.number(rng, Split.HELD_OUT)
    assert int(held_out) >= 10
    assert split_of(held_out) is Split.HELD_OUT
    seen = words.number(rng, Split.TRAIN)
    assert len(seen) == 1 or split_of(seen) is Split.TRAIN


@given(seed=st.integers(0, 2**32), split=st.sampled_from(Split))
def test_no_name_starts_with_a_word_that_has_a_spaced_token(seed, split):
    rng = random.Random(seed)
    for draw in (words.nonsense, words.noun, words.entity):
        assert not draw(rng, split).startswith(SPACED_WORDS)


def test_the_pools_have_words_in_both_splits():
    for pool in (words.NOUNS, words.PEOPLE):
        assert {split_of(word) for word in pool} == {Split.TRAIN, Split.HELD_OUT}


def test_one_seed_gives_one_stream():
    draws = [[words.content(random.Random(5), Split.TRAIN) for _ in range(3)] for _ in range(2)]
    assert draws[0] == draws[1]
