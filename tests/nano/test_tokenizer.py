"""The tokenizer: one token for each marker and digit, and words whose tokens do not depend on what precedes them."""

import itertools
import random

import pytest

from aios_actors.nano import words
from aios_actors.nano.chat import trace
from aios_actors.nano.tasks import held_out_tasks, training_tasks
from aios_actors.nano.tokenizer import SPECIAL_TOKENS, merges_of, tokens_of, train_tokenizer
from aios_actors.nano.words import Split

SIZE = 640


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer((trace(task) for task in itertools.islice(training_tasks(1), 1500)), SIZE)


def test_sizes_and_markers(tokenizer):
    tokens = tokens_of(tokenizer)
    assert len(tokens) == tokenizer.get_vocab_size() == SIZE
    assert tuple(tokens[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS
    for marker in SPECIAL_TOKENS:
        assert tokenizer.encode(f"a{marker}b").tokens == ["a", marker, "b"]
    assert tokenizer.encode("4821").tokens == list("4821")
    vocabulary = set(tokens)
    assert all(left + right in vocabulary for left, right in (merge.split(" ") for merge in merges_of(tokenizer)))


def test_any_text_survives(tokenizer):
    texts = [trace(task) for task in held_out_tasks(1, 100, True)] + ["Grüße, 世界!\t\n  x"]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("split", list(Split))
def test_a_name_has_the_same_tokens_wherever_it_stands(tokenizer, split):
    rng = random.Random(1)
    for _ in range(1000):
        name = rng.choice((words.entity, words.noun, words.nonsense, words.code))(rng, split)
        alone = tokenizer.encode(name).tokens
        for before in (" ", '"', ' "', "/", "\n", "(", " '"):
            assert tokenizer.encode(before + name).tokens[-len(alone) :] == alone


def test_too_little_text_is_refused():
    with pytest.raises(ValueError, match="give more text"):
        train_tokenizer(["a few words"], SIZE)
