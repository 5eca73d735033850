"""The vectorised sampler against a plain one, written out over the whole vocabulary."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

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
    weights = {t: math.exp(values[t] - values[order[0]]) for t in order}
    nucleus = [
        t for place, t in enumerate(order) if sum(weights[o] for o in order[:place]) < s.top_p * sum(weights.values())
    ]
    kept = sorted(t for t in order if weights[t] >= s.min_p)
    for attempt in itertools.count():
        token = plain_pick(kept, values, s.temperature, uniform(s.seed, row.index, attempt))
        if token in nucleus:
            return token
        kept = [t for t in kept if values[t] > values[token]]
    raise AssertionError


def plain_pick(tokens: list[int], values: list[float], temperature: float, point: float) -> int:
    """The token whose interval holds the point, in the vocabulary's order."""
    weights = [math.exp((values[t] - max(values)) / temperature) for t in tokens]
    left = point * sum(weights)
    for token, weight in zip(tokens, weights, strict=True):
        left -= weight
        if left < 0:
            return token
    return tokens[-1]


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
        top_k=st.sampled_from([1, 5, 1000]),
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


def plain_draw(logits: npt.NDArray[np.float32], s: Sampling, points: list[float]) -> int:
    """The same over a large vocabulary, sorting all of it."""
    order = np.argsort(-logits, kind="stable")[: s.top_k or None]
    values = logits[order].astype(np.float64) - float(logits.max())
    weights = np.exp(values)
    before = np.concatenate(([0.0], np.cumsum(weights)))
    likelier = before[np.searchsorted(-values, -values)]  # equal ones are as likely as each other
    nucleus = set(order[likelier < s.top_p * before[-1]].tolist()) if s.top_p < 1.0 else set(order.tolist())
    kept = np.sort(order[weights >= s.min_p])
    for point in points:
        final = np.cumsum(np.exp((logits[kept].astype(np.float64) - float(logits.max())) / s.temperature))
        token = int(kept[np.searchsorted(final, point * final[-1], side="right")])
        if token in nucleus:
            return token
        kept = kept[logits[kept] > logits[token]]
    raise AssertionError


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.0, 0.3, 3.0, 12.0]),
    temperature=st.sampled_from([0.2, 1.0, 3.0]),
    filters=st.sampled_from([(k, p) for k in (2, 38, 39, 40, 3000, 9000) for p in (0.0, 0.03)] + [(0, 0.03)]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    rounded=st.booleans(),
    masked=st.booleans(),
)
def test_a_large_vocabulary_is_drawn_from_as_if_it_had_been_sorted(
    seed: int, spread: float, temperature: float, filters: tuple[int, float], top_p: float, rounded: bool, masked: bool
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0.0, spread, MANY).astype(np.float32)
    if rounded:  # many ties
        logits = logits.round()
    if masked:
        logits[random.permutation(MANY)[: MANY - 7]] = -np.inf
    sampling = Sampling(temperature=temperature, top_k=filters[0], top_p=top_p, min_p=filters[1])
    scratch = np.empty_like(logits)
    # A point on the border of two tokens may fall to either; a random one is on none.
    for first in (0.0, *random.random(5)):
        points = [first, *random.random(60).tolist()]
        ours = draw(logits.copy(), float(logits.max()), sampling, iter(points), scratch)
        assert ours == plain_draw(logits, sampling, points)


@given(st.integers(0, 2**32), st.integers(0, 60), st.booleans())
def test_the_likeliest_are_those_a_sort_puts_first(seed: int, count: int, rounded: bool) -> None:
    logits = np.random.default_rng(seed).normal(size=MANY).astype(np.float32)
    if rounded:
        logits = logits.round()
    assert likeliest(logits, count).tolist() == np.argsort(-logits, kind="stable")[:count].tolist()


# Four spikes above a wide field: it weighs next to nothing, one percent, a third, and nearly all.
@pytest.mark.parametrize("height", [20.0, 12.0, 8.0, 2.0])
@pytest.mark.parametrize("filters", [{}, {"top_p": 0.8}, {"top_p": 0.995}, {"min_p": 0.3, "top_p": 0.6}, {"top_k": 3}])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_the_draws_follow_the_distribution(height: float, filters: dict[str, float], temperature: float) -> None:
    random = np.random.default_rng(4)
    logits = random.normal(0.0, 0.3, MANY).astype(np.float32)
    spikes = random.permutation(MANY)[:4]
    logits[spikes] = np.float32(height) + np.array([0.0, -0.3, -1.0, -2.5], np.float32)
    sampling, count = Sampling(temperature=temperature, seed=7, **filters), 1500  # type: ignore[arg-type]
    drawn = Counter(sample([logits.copy()], [Row(sampling, (), i)])[0].token for i in range(count))
    expected = plain_distribution(logits, sampling)
    field = [token for token in range(MANY) if token not in spikes]
    for tokens in (*([spike] for spike in spikes), field, sorted(field, key=lambda t: logits[t])[-500:]):
        assert_plausible(sum(drawn[t] for t in tokens), count, float(expected[tokens].sum()))


def assert_plausible(found: int, count: int, probability: float) -> None:
    """Of `count` independent cases with this probability, `found` is no surprise."""
    deviation = math.sqrt(count * probability * max(1 - probability, 0))
    assert abs(found - count * probability) <= 4 * deviation + 1e-6


def test_tokens_of_equal_weight_are_drawn_equally_often() -> None:
    logits, count = np.full(1000, -30.0, np.float32), 30_000
    logits[[100, 900]] = 0.0
    points, scratch = iter(np.random.default_rng(6).random(3 * count).tolist()), np.empty_like(logits)
    drawn = Counter(draw(logits, 0.0, Sampling(temperature=1.0), points, scratch) for _ in range(count))
    assert_plausible(drawn[100], count, 0.5)
    assert_plausible(drawn[900], count, 0.5)


def plain_distribution(logits: npt.NDArray[np.float32], s: Sampling) -> npt.NDArray[np.float64]:
    """The probability of each token, sorting all of them."""
    order = np.argsort(-logits, kind="stable")[: s.top_k or None]
    weights = np.exp(logits[order].astype(np.float64) - float(logits.max()))
    before = np.concatenate(([0.0], np.cumsum(weights)[:-1]))
    kept = order[(before < s.top_p * weights.sum()) & (weights >= s.min_p)]
    tempered = np.exp((logits[kept].astype(np.float64) - float(logits.max())) / s.temperature)
    result = np.zeros(logits.size)
    result[kept] = tempered / tempered.sum()
    return result


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0, top_p=0.75), [0.625, 0.375, 0.0, 0.0]),
        (Sampling(temperature=1.0, top_p=0.75, min_p=0.2), [0.625, 0.375, 0.0, 0.0]),
        (Sampling(temperature=1.0, top_p=0.9, min_p=0.2), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0.0]),
        # Of three tokens the first holds 0.53, so the nucleus of the untempered ones is two.
        (Sampling(temperature=0.5, top_k=3, top_p=0.6), [0.25 / 0.34, 0.09 / 0.34, 0.0, 0.0]),
        (Sampling(temperature=2.0, top_p=0.4), [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_filtered_draws_follow_the_distribution_of_what_is_kept(sampling: Sampling, expected: list[float]) -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    count = 4000
    rows = [Row(replace(sampling, seed=11), (), i) for i in range(count)]
    drawn = Counter(c.token for c in sample(np.tile(logits, (count, 1)), rows))
    for token, probability in enumerate(expected):
        assert_plausible(drawn[token], count, probability)


@pytest.mark.parametrize("level", [-3000.0, -70.0, 0.0, 70.0, 3000.0])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 30.0])
def test_only_the_differences_of_logits_count(level: float, temperature: float) -> None:
    logits = np.random.default_rng(5).integers(-16, 17, MANY).astype(np.float32) / 16  # exact at every level
    rows = [Row(Sampling(temperature=temperature, top_p=0.9, seed=3), (), i) for i in range(20)]
    here, there = (
        [c.token for c in sample(np.tile(row, (20, 1)), rows)] for row in (logits, logits + np.float32(level))
    )
    # A point close to a border may fall to the neighbour.
    assert sum(a == b for a, b in zip(here, there, strict=True)) >= 18


@given(seed=st.integers(), index=st.integers(0, 2**63))
def test_uniform_numbers_depend_on_seed_and_index_alone(seed: int, index: int) -> None:
    assert 0.0 <= uniform(seed, index) < 1.0
    assert uniform(seed, index) == uniform(seed, index)
    assert len({uniform(seed, index), uniform(seed + 1, index), uniform(seed, index, 1)}) == 3


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
