"""Batches: the loss counts in full exactly where the assistant speaks."""

import itertools
import random

import pytest

pytest.importorskip("tokenizers")
np = pytest.importorskip("numpy")

from aios_actors.nano.batches import OTHER_WEIGHT, bucketed, pairs_drill, repeat_drill, trace_weights, training_batches
from aios_actors.nano.chat import trace
from aios_actors.nano.tasks import held_out_tasks, training_tasks
from aios_actors.nano.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer((trace(task) for task in itertools.islice(training_tasks(1), 1500)), 640)


def test_assistant_turns_count_in_full_and_nothing_else_does(tokenizer):
    for task in held_out_tasks(1, 60, False):
        ids = tokenizer.encode(trace(task)).ids
        weights = trace_weights(tokenizer, ids)
        full = [token for token, weight in zip(ids, weights, strict=True) if weight == 1.0]
        said = tokenizer.decode(full, skip_special_tokens=False)
        turns = trace(task).split("<|im_start|>assistant\n")[1:]
        assert said == "".join(turn.split("<|im_end|>")[0] + "<|im_end|>" for turn in turns)
        assert {weight for weight in weights if weight != 1.0} == {OTHER_WEIGHT}


@pytest.mark.parametrize("drill", [repeat_drill, pairs_drill])
def test_what_counts_in_a_drill_has_been_seen(tokenizer, drill):
    for seed in range(50):
        ids, weights = drill(random.Random(seed), tokenizer)
        first = weights.index(1.0)
        asked = {token for token, weight in zip(ids, weights, strict=True) if weight == 1.0}
        assert asked <= set(ids[:first])


def test_a_bucket_pads_to_its_longest_row_and_loses_nothing():
    rows = [([7] * n, [1.0] * n) for n in range(2, 40)]
    batches = bucketed(rows, random.Random(1), 100)
    assert sum(int(weights.sum()) for _, weights in batches) == sum(n - 1 for n in range(2, 40))
    for tokens, weights in batches:
        assert tokens.shape == weights.shape
        assert tokens.size <= 100 or len(tokens) == 1
        assert not weights[tokens == 0].any() and not weights[:, 0].any()


def test_streams_are_seeded(tokenizer):
    runs = [list(itertools.islice(training_batches(tokenizer, 5, 600, lambda: 0.3, pool=40), 4)) for _ in range(2)]
    for (one, _), (other, _) in zip(*runs, strict=True):
        assert np.array_equal(one, other)
