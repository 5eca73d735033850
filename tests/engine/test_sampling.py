"""The vectorised sampler against a plain one, written out over the whole vocabulary."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.engine.distribution import draw, likeliest
from aios_actors.engine.messages import Sampling
from aios_actors.engine.sampling import Row, sample, uniform, unpack_mask

VOCABULARY = 70
MANY = 5003  # more than one block of each kind, and no multiple of any


def plain_choice(logits: npt.NDArray[np.float32], row: Row) -> int:
    """One step after the other in pure Python, in llama.cpp's order."""
    s = row.sampling
    values = [float(x) for x in logits]
    for token, bias in s.logit_bias.items():
        values[token] = float(np.float32(values[token]) + np.float32(bias))
    window = list(row.history) if s.penalty_window < 0 else list(row.history)[-s.penalty_window :]
    if s.penalty_window == 0:
        window = []
    for token, count in Counter(window).items():
        values[token] = values[token] / s.repeat_penalty if values[token] > 0 else values[token] * s.repeat_penalty
        values[token] -= count * s.frequency_penalty + s.presence_penalty
    if row.mask is not None:
        allowed = unpack_mask(row.mask, VOCABULARY)
        values = [v if allowed[t] else -math.inf for t, v in enumerate(values)]
    if all(v == -math.inf for v in values):
        return -1
    order = sorted((t for t in range(VOCABULARY) if values[t] > -math.inf), key=lambda t: (-values[t], t))
    if s.temperature == 0.0:
        return order[0]
    if s.top_k:
        order = order[: s.top_k]
    weights = [math.exp(values[t] - values[order[0]]) for t in order]
    if s.top_p < 1.0:
        total, kept = 0.0, 0
        while total < s.top_p * sum(weights) and kept < len(order):
            total += weights[kept]
            kept += 1
        order, weights = order[:kept], weights[:kept]
    order = [t for t, w in zip(order, weights, strict=True) if w >= s.min_p]
    order.sort()
    final = [math.exp((values[t] - max(values)) / s.temperature) for t in order]
    point = uniform(s.seed, row.index) * sum(final)
    for token, weight in zip(order, final, strict=True):
        point -= weight
        if point < 0:
            return token
    return order[-1]


def bits(allowed: set[int]) -> npt.NDArray[np.uint32]:
    """A constraint's bit set."""
    mask = np.zeros(-(-VOCABULARY // 32), np.uint32)
    for token in allowed:
        mask[token >> 5] |= np.uint32(1 << (token & 31))
    return mask


# A shuffled row of distinct values with gaps, so that no tie is decided by rounding; no penalty below is a sum of gaps.
logit_rows = st.tuples(st.integers(0, 2**32), st.sampled_from([0.02, 0.2, 1.0])).map(
    lambda drawn: (np.random.default_rng(drawn[0]).permutation(VOCABULARY) - VOCABULARY / 2) * drawn[1]
)
rows = st.builds(
    Row,
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
        top_k=st.sampled_from([0, 1, 5, 1000]),
        top_p=st.sampled_from([1.0, 0.9, 0.31]),
        min_p=st.sampled_from([0.0, 0.07]),
        seed=st.integers(-(2**70), 2**70),
        repeat_penalty=st.sampled_from([1.0, 1.317]),
        frequency_penalty=st.sampled_from([0.0, 0.413]),
        presence_penalty=st.sampled_from([0.0, -0.607]),
        penalty_window=st.sampled_from([-1, 0, 3, 64]),
        logit_bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.sampled_from([-3.253, 5.517]), max_size=3),
    ),
    history=st.lists(st.integers(0, VOCABULARY - 1), max_size=12),
    index=st.integers(0, 10_000),
    mask=st.none() | st.sets(st.integers(0, VOCABULARY - 1), max_size=9).map(bits),
)


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(st.tuples(logit_rows, rows), min_size=1, max_size=4))
def test_it_chooses_what_the_plain_sampler_chooses(batch: list[tuple[npt.NDArray[np.float64], Row]]) -> None:
    logits = np.array([values for values, _ in batch], np.float32)
    expected = [plain_choice(logits[i], row) for i, (_, row) in enumerate(batch)]
    assert [c.token for c in sample(logits.copy(), [row for _, row in batch])] == expected


def plain_draw(logits: npt.NDArray[np.float32], s: Sampling, point: float) -> int:
    """The same over a large vocabulary, sorting all of it."""
    order = np.argsort(-logits, kind="stable")[: s.top_k or None]
    weights = np.exp(logits[order].astype(np.float64) - float(logits.max()))
    keep = int(np.searchsorted(np.cumsum(weights), s.top_p * weights.sum())) + 1 if s.top_p < 1.0 else len(order)
    kept = np.sort(order[:keep][weights[:keep] >= s.min_p])
    if (s.top_k, s.top_p, s.min_p) == (0, 1.0, 0.0):
        near = kept[logits[kept] >= logits.max() - 24.0 * s.temperature]
        kept = near if 8 * len(near) <= MANY else kept
    final = np.cumsum(np.exp((logits[kept].astype(np.float64) - float(logits.max())) / s.temperature))
    return int(kept[np.searchsorted(final, point * final[-1], side="right")])


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.0, 0.3, 3.0, 12.0]),
    temperature=st.sampled_from([0.2, 1.0, 3.0]),
    top_k=st.sampled_from([0, 2, 38, 39, 40, 3000, 9000]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    min_p=st.sampled_from([0.0, 0.03]),
    rounded=st.booleans(),
    masked=st.booleans(),
)
def test_a_large_vocabulary_is_drawn_from_as_if_it_had_been_sorted(
    seed: int, spread: float, temperature: float, top_k: int, top_p: float, min_p: float, rounded: bool, masked: bool
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0.0, spread, MANY).astype(np.float32)
    if rounded:  # many ties
        logits = logits.round()
    if masked:
        logits[random.permutation(MANY)[: MANY - 7]] = -np.inf
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    scratch = np.empty_like(logits)
    # A point on the border of two tokens may fall to either; a random one is on none.
    for point in (0.0, *random.random(5)):
        ours = draw(logits.copy(), float(logits.max()), sampling, float(point), scratch)
        assert ours == plain_draw(logits, sampling, float(point))


@given(st.integers(0, 2**32), st.integers(0, 60), st.booleans())
def test_the_likeliest_are_those_a_sort_puts_first(seed: int, count: int, rounded: bool) -> None:
    logits = np.random.default_rng(seed).normal(size=MANY).astype(np.float32)
    if rounded:
        logits = logits.round()
    assert likeliest(logits, count).tolist() == np.argsort(-logits, kind="stable")[:count].tolist()


def test_the_draws_follow_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    count = 4000
    rows = [Row(Sampling(temperature=1.0, seed=7), (), i) for i in range(count)]
    drawn = Counter(c.token for c in sample(np.tile(logits, (count, 1)), rows))
    for token, probability in enumerate([0.5, 0.3, 0.15, 0.05]):
        deviation = math.sqrt(count * probability * (1 - probability))
        assert abs(drawn[token] - count * probability) < 4 * deviation


@given(seed=st.integers(), index=st.integers(0, 2**63))
def test_uniform_numbers_depend_on_seed_and_index_alone(seed: int, index: int) -> None:
    assert 0.0 <= uniform(seed, index) < 1.0
    assert uniform(seed, index) == uniform(seed, index)
    assert uniform(seed, index) != uniform(seed + 1, index)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_logprobs_are_those_of_the_unfiltered_model(temperature: float) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(1, VOCABULARY)).astype(np.float32)
    exact = logits[0] - np.log(np.exp(logits[0].astype(np.float64)).sum())
    row = Row(Sampling(temperature=temperature, top_k=3, logprobs=4, logit_bias={5: 50.0}), (), 0)
    choice = sample(logits, [row])[0]
    assert choice.token == 5
    assert choice.logprob is not None
    assert choice.logprob.logprob == pytest.approx(float(exact[5]), abs=1e-5)
    assert [t for t, _ in choice.logprob.top] == np.argsort(-exact)[:4].tolist()
    assert [p for _, p in choice.logprob.top] == pytest.approx(np.sort(exact)[::-1][:4].tolist(), abs=1e-5)


def test_banned_tokens_are_never_chosen() -> None:
    logits = np.array([[0.0, 9.0, 1.0]], np.float32)
    assert sample(logits, [Row(Sampling(), (), 0, None, (1,))])[0].token == 2


def test_a_row_without_an_allowed_token_says_so_and_the_others_are_served() -> None:
    logits = np.array([[0.0, 9.0], [3.0, 1.0]], np.float32)
    rows = [Row(Sampling(temperature=1.0), (), 0, np.zeros(1, np.uint32)), Row(Sampling(), (), 0)]
    assert [c.token for c in sample(logits, rows)] == [-1, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_choose_nothing(temperature: float) -> None:
    logits = np.full((1, 5), np.nan, np.float32)
    assert sample(logits, [Row(Sampling(temperature=temperature), (), 0)])[0].token == -1
