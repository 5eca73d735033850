"""Batches: the loss counts in full exactly where the assistant speaks."""

import itertools
import random

import numpy as np
import pytest

from aios_actors.nano.batches import (
    BATCH_TOKENS,
    OTHER_WEIGHT,
    bucketed,
    chats,
    pairs_drill,
    repeat_drill,
    trace_weights,
    training_batches,
)
from aios_actors.nano.chat import TURN_START, trace
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


def test_every_batch_has_the_same_number_of_tokens_and_no_row_is_lost():
    rows = [([7] * n, [1.0] * n) for n in range(2, 1000, 7)]
    batches = bucketed(rows, random.Random(1))
    assert sum(int(weights.sum()) for _, weights in batches) == sum(len(ids) - 1 for ids, _ in rows)
    for tokens, weights in batches:
        assert tokens.shape == weights.shape
        # The first token of a row is only read, the last only predicted.
        assert len(tokens) * (tokens.shape[1] - 1) == BATCH_TOKENS
        assert not weights[tokens == 0].any() and not weights[:, 0].any()


def test_a_row_that_no_length_holds_is_left_out():
    assert bucketed([([7] * 5000, [1.0] * 5000)], random.Random(1)) == []


def test_streams_are_seeded(tokenizer):
    runs = [list(itertools.islice(training_batches(tokenizer, 5, lambda made: 0.3, pool=200), 4)) for _ in range(2)]
    for (one, _), (other, _) in zip(*runs, strict=True):
        assert np.array_equal(one, other)


def test_every_task_is_in_one_chat_and_what_cannot_be_done_stays_alone():
    tasks = list(itertools.islice(training_tasks(3), 200))
    texts = chats(tasks, random.Random(1))
    assert sum(text.count(f"{TURN_START}user\n") for text in texts) == len(tasks)
    refusals = [text for text in texts if "I cannot do that with my tools." in text]
    assert len(refusals) == sum(task.skill == "cannot" for task in tasks)
    assert all(text.count(f"{TURN_START}user\n") == 1 for text in refusals)
