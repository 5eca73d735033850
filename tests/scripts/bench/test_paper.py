"""The parts of the paper's experiments that are pure: distances of texts, margins of choices, figures' data."""

import csv
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.messages import Sampling
from aios_actors.engine.protocol import TokenLogprob
from aios_actors.engine.sampling import Row, sample, uniform
from scripts.bench.choice import embedded_model
from scripts.bench.paper.agents import Call, Script, Turn, question
from scripts.bench.paper.consistency import MODES, Whole, drawn_margin, generations, margins, rows
from scripts.bench.paper.distance import bleu, edit_distance, first_difference, similarity
from scripts.bench.paper.fairness import served_by, shares
from scripts.bench.paper.findings import Figure, distribution
from scripts.bench.paper.nodes import Ended, Kind, NodeRun, run_on_node
from scripts.bench.paper.options import Options
from scripts.bench.paper.waiting import heavy_tail, ranked, times

texts = st.lists(st.integers(0, 5), max_size=12)


@given(texts, texts)
def test_edit_distance_is_a_metric(a: list[int], b: list[int]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))
    assert 0.0 <= similarity(a, b) <= 1.0


@given(texts, texts, texts)
def test_edit_distance_takes_no_detour(a: list[int], b: list[int], c: list[int]) -> None:
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_edit_distance_of_a_known_pair() -> None:
    assert edit_distance([*map(ord, "kitten")], [*map(ord, "sitting")]) == 3


@given(texts, texts)
def test_the_first_difference_is_where_two_texts_part(a: list[int], b: list[int]) -> None:
    index = first_difference(a, b)
    if index is None:
        assert a == b
    else:
        assert a[:index] == b[:index]
        assert a[index : index + 1] != b[index : index + 1]


@given(st.lists(texts.filter(len), min_size=1, max_size=5))
def test_bleu_of_equal_texts_is_one(same: list[list[int]]) -> None:
    assert bleu([(text, text) for text in same]) == pytest.approx(1.0)


def test_bleu_clips_counts_and_punishes_brevity() -> None:
    assert bleu([([1, 2, 3, 4, 5], [1, 1, 1, 1, 1])]) == 0.0
    assert bleu([([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4])]) == pytest.approx(math.exp(1 - 2))
    # Of 8, 7, 6, 5 n-grams of the candidate 7, 6, 5, 4 occur in the reference.
    expected = (7 / 8 * 6 / 7 * 5 / 6 * 4 / 5) ** (1 / 4)
    assert bleu([([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 9])]) == pytest.approx(expected)


def logits_of(values: list[float]) -> TokenLogprob:
    """What the engine would tell of a draw's candidates."""
    logits = [value - math.log(sum(math.exp(each) for each in values)) for value in values]
    top = sorted(enumerate(logits), key=lambda pair: -pair[1])
    return TokenLogprob(0, logits[0], tuple(top))


@given(st.integers(0, 1000), st.integers(0, 60), st.lists(st.integers(-30, 30), min_size=2, max_size=6, unique=True))
def test_a_drawn_margin_is_how_far_the_random_number_is_from_another_choice(
    seed: int, index: int, tenths: list[int]
) -> None:
    values = [each / 10 for each in tenths]
    sampling = Sampling(temperature=0.8, seed=seed)
    (choice,) = sample(np.array([values], np.float32), [Row(sampling, [], index)])
    candidates = msgspec.structs.replace(logits_of(values), token=choice.token)
    margin = drawn_margin(candidates, sampling, index)
    # If the intervals were not the sampler's, the random number would lie outside of the chosen token's.
    assert margin + 1e-4 >= 0.0
    weights = {token: math.exp(logprob / 0.8) for token, logprob in candidates.top}
    assert margin <= weights[choice.token] / sum(weights.values()) / 2 + 1e-4
    assert margin <= max(uniform(seed, index), 1 - uniform(seed, index))


def test_a_greedy_margin_is_the_gap_to_the_other_token() -> None:
    each = generations(1)[0]
    candidates = (TokenLogprob(7, -0.1, ((7, -0.1), (9, -0.3), (4, -2.0))),)
    reference = {each.number: Whole((7,), candidates)}
    assert list(margins([each], reference, {each.number: (9,)})) == [pytest.approx(0.2)]
    assert list(margins([each], reference, {each.number: (5,)})) == [pytest.approx(1.9)]
    assert list(margins([each], reference, {each.number: (7,)})) == []


def test_a_mode_fails_when_fewer_generations_are_equal_than_it_wants() -> None:
    wanted = generations(4)
    reference = {each.number: Whole((1, 2), (TokenLogprob(1, -0.1, ((1, -0.1), (2, -0.2))),) * 2) for each in wanted}
    same = {number: whole.tokens for number, whole in reference.items()}
    assert all(row.ok is not False for row in rows(MODES[0], wanted, reference, same))
    (bad,) = [row for row in rows(MODES[0], wanted, reference, same | {0: (2, 1)}) if row.ok is False]
    assert (bad.what, bad.value) == ("resident, greedy: exact match of 2", 0.5)


def test_a_figures_data_lies_beside_it(tmp_path: Path) -> None:
    figure = Figure("f", "t", "x", "y", {"a": [(1.0, 2.0)], "b": distribution([3.0, 1.0])}, "steps")
    files = list(figure.write(tmp_path))
    with files[0].open(newline="") as file:
        found = list(csv.reader(file))
    assert found == [["series", "x", "y"], ["a", "1.0", "2.0"], ["b", "1.0", "0.5"], ["b", "3.0", "1.0"]]
    assert all(path.stat().st_size for path in files)


@pytest.fixture
def embedded() -> Path:
    return embedded_model()


def call(*, first: float, done: float, out: int = 10, waited: float = 0.0) -> Call:
    return Call(0.0, first, done, waited, 5, 0, out)


def test_service_counts_what_a_call_had_at_the_end() -> None:
    assert served_by(4.0, call(first=1.0, done=3.0)) == 10
    assert served_by(2.0, call(first=1.0, done=3.0)) == 5
    assert served_by(0.5, call(first=1.0, done=3.0)) == 0


def test_shares_are_by_weight_until_the_first_agent_has_all_its_answers() -> None:
    kinds = [Kind("a", (), {"weight": 1.0}), Kind("b", (), {"weight": 2.0})]
    calls = {"a": (call(first=1.0, done=2.0), call(first=3.0, done=5.0)), "b": (call(first=0.0, done=4.0, out=30),)}
    done = NodeRun([Ended(name, 1.0, each) for name, each in calls.items()])
    assert shares(kinds, done) == {"a": 15.0, "b": 15.0}


def test_a_heavy_tail_has_many_short_agents_and_a_few_long_ones() -> None:
    scripts = heavy_tail(192, 0.0)
    sizes = sorted(script.out for script in scripts)
    assert scripts == heavy_tail(192, 0.0)
    assert sizes[96] < 32
    assert 1000 < sizes[-1] <= 1600
    assert {script.delay_s for script in scripts} == {0.0}


def test_the_agents_of_a_heavy_tail_arrive_in_the_time_that_was_asked_for() -> None:
    arrivals = [script.delay_s for script in heavy_tail(192, 0.05)]
    assert arrivals == sorted(arrivals)
    assert 0.8 < arrivals[-1] / (191 * 0.05) < 1.2


def test_the_oracle_puts_the_shortest_agent_first_within_the_range_of_priorities() -> None:
    scripts = heavy_tail(192, 0.0)
    kinds = ranked(scripts)
    by_priority = sorted(kinds, key=lambda kind: -kind.settings["priority"])
    lengths = [kind.scripts[0].out for kind in by_priority]
    assert lengths == sorted(lengths)
    assert all(-100 <= kind.settings["priority"] <= 100 for kind in kinds)


def test_the_times_of_a_run_are_those_of_its_calls_and_agents() -> None:
    done = NodeRun([Ended("a", 3.0, (call(first=1.0, done=2.0, waited=0.5),)), Ended("b", 9.0, (), "failed")])
    found = {row.what: row.value for row in times("x", done)}
    assert found["x: failed"] == 1
    assert found["x: waiting of a call, p99"] == 0.5
    assert found["x: first token of a call, mean"] == 1.0
    assert found["x: turnaround of an agent, mean"] == 3.0


async def test_scripted_agents_make_the_calls_of_their_scripts(embedded: Path) -> None:
    lanes = ((Turn(4, 6), Turn(3, 5, pause_s=0.01)), (Turn(2, 7),))
    options = Options(embedded, 1, True, ("fifo",), lambda line: None)
    done = await run_on_node(options, [Kind("a", (Script(lanes), Script(lanes, seed=1)))], places=2)
    assert done.failed == 0
    assert [sorted(each.tokens_out for each in agent.calls) for agent in done.agents] == [[5, 6, 7], [5, 6, 7]]
    assert all(each.sent <= each.first <= each.done for each in done.calls())
    assert done.wall_s >= max(agent.turnaround_s for agent in done.agents) - 0.05
    assert question(Turn(4, 1), 1) == question(Turn(4, 1), 1) != question(Turn(4, 1), 2)
