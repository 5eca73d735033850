"""The cost model finds what is behind the steps, and its budget keeps a step within twice its time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aios_actors.engine.cost import CostModel, Work


def machine(work: Work, start: float, token: float, cell: float, output: float) -> float:
    return start + token * work.tokens + cell * work.cells + output * work.outputs


def decoders(count: int, position: int) -> Work:
    return sum((Work.span(position, 1, 1) for _ in range(count)), Work())


@settings(deadline=None)
@given(
    start=st.floats(0.001, 0.1),
    token=st.floats(1e-4, 1e-2),
    cell=st.floats(1e-8, 1e-6),
    output=st.floats(1e-5, 1e-3),
    steps=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 400), st.integers(0, 4000)), min_size=6, max_size=40),
)
def test_it_finds_what_steps_cost(
    start: float, token: float, cell: float, output: float, steps: list[tuple[int, int, int]]
) -> None:
    model = CostModel()
    cost = (start, token, cell, output)
    fixed = [(1, 0, 0), (8, 0, 3000), (8, 300, 100), (2, 100, 4000)]
    for count, prefill, position in fixed + steps:
        work = decoders(count, position) + Work.span(position, prefill)
        model.observe_step(work, machine(work, *cost))
    for count, prefill, position in fixed:
        work = decoders(count, position) + Work.span(position, prefill)
        assert model.step_s(work) == pytest.approx(machine(work, *cost), rel=0.02)


@settings(deadline=None)
@given(
    start=st.floats(0.001, 0.1),
    token=st.floats(1e-5, 1e-3),
    cell=st.floats(0, 1e-6),
    count=st.integers(1, 16),
    seed=st.integers(0, 100),
)
@example(start=0.09375, token=6.1e-05, cell=2.94e-08, count=6, seed=23)  # noise hid a third of a token's cost
def test_the_time_between_tokens_stays_within_twice_while_an_8k_prompt_is_prefilled(
    start: float, token: float, cell: float, count: int, seed: int
) -> None:
    """A simulated machine whose steps take up to 10 % longer or shorter by chance."""
    noise = np.random.default_rng(seed)
    model, cost, position, prefilled = CostModel(), (start, token, cell, 2e-4), 500, 0
    alone = []
    for step in range(60):  # plain decoding, with a short prompt now and then
        work = decoders(count, position + step) + Work.span(0, 40 if step % 20 == 3 else 0)
        seconds = machine(work, *cost) * noise.uniform(0.9, 1.1)
        model.observe_step(work, seconds)
        alone += [seconds] if work.tokens == count else []
    during = []
    while prefilled < 8192:
        decoding = decoders(count, position + 60)
        share = model.prefill_budget(decoding, prefilled)
        work = decoding + Work.span(prefilled, share)
        during.append(machine(work, *cost) * noise.uniform(0.9, 1.1))
        model.observe_step(work, during[-1])
        prefilled += share
    smallest = machine(decoders(count, position + 60) + Work.span(8192, 4), *cost)
    assert np.quantile(during, 0.99) <= max(2 * np.quantile(alone, 0.99), smallest * 1.1)


def test_a_second_pass_that_takes_too_long_leaves_one_token() -> None:
    model = CostModel()
    for step in range(40):
        work = replace(decoders(4, 100) + Work.span(0, step % 4 * 8), passes=1 + (step % 4 > 0))
        model.observe_step(work, machine(work, 0, 1e-3, 0, 0) + 0.02 * work.passes)
    assert model.prefill_budget(decoders(4, 100), 0, passes=0) > 4
    assert model.prefill_budget(decoders(4, 100), 0, passes=1) == 1


def test_the_less_sure_a_token_s_cost_is_the_fewer_are_computed() -> None:
    budgets = []
    for spread in (0.0, 0.1, 0.3):
        noise, model = np.random.default_rng(1), CostModel()
        for step in range(40):
            work = decoders(8, 100) + Work.span(0, 30 if step % 4 == 0 else 0)
            model.observe_step(work, machine(work, 0.02, 5e-4, 0, 0) * noise.uniform(1 - spread, 1 + spread))
        budgets.append(model.prefill_budget(decoders(8, 100), 0))
    assert budgets == sorted(budgets, reverse=True) and budgets[0] > budgets[-1]


def test_before_two_sizes_of_steps_were_seen_it_does_not_guess() -> None:
    model = CostModel()
    for _ in range(20):
        model.observe_step(decoders(8, 100), 0.01)
    assert model.step_s(decoders(8, 100)) is None and model.prefill_s(0, 100) is None
    assert model.prefill_budget(decoders(8, 100), 0) > 0


def test_it_tells_how_many_tokens_a_moment_is_enough_for() -> None:
    model = CostModel()
    assert model.tokens_within(0.25, 100) == 0, "unknown"
    for tokens in (8, 64, 200) * 8:
        work = Work.span(100, tokens)
        model.observe_step(work, machine(work, 0.01, 0.002, 1e-7, 0.0))
    many = model.tokens_within(0.25, 100)
    seconds = [model.step_s(Work.span(100, n)) for n in (many, many + 1)]
    assert seconds[0] is not None and seconds[1] is not None and seconds[0] <= 0.25 < seconds[1]


def test_it_follows_a_machine_that_becomes_slower() -> None:
    model = CostModel()
    for seconds in (0.001, 0.01):
        for size in [8, 100] * 40:
            model.observe_step(Work(size), seconds * size)
    assert model.step_s(Work(50)) == pytest.approx(0.5, rel=0.05)


def test_long_decoding_does_not_make_it_forget_what_prefill_costs() -> None:
    model = CostModel()
    for _ in range(5):
        model.observe_step(Work.span(0, 500), 1.0)
    for step in range(5000):
        model.observe_step(decoders(8, step % 300), 0.02)
    assert model.prefill_s(0, 500) == pytest.approx(1.0, rel=0.1)


def test_steps_that_were_slow_by_accident_weigh_little() -> None:
    model = CostModel()
    for step in range(64):
        work = decoders(4, 100) if step % 2 else Work.span(0, 200, 1)
        model.observe_step(work, machine(work, 0.005, 1e-3, 0, 0) * (30 if step % 16 == 1 else 1))
    assert model.step_s(decoders(4, 100)) == pytest.approx(0.009, rel=0.25)


def test_nonsense_from_a_busy_machine_gives_no_negative_costs() -> None:
    model = CostModel()
    for size, seconds in ((1, 1.0), (500, 0.1)):
        model.observe_step(Work(size), seconds)
    assert (model.step_s(Work(1)) or 0) > 0 and (model.prefill_s(0, 100) or 0) >= 0
    assert model.prefill_budget(Work(4), 0) > 0


def test_moving_is_worth_it_while_it_is_faster_than_computing() -> None:
    model = CostModel()
    assert model.worth_moving(0, 100, ("restore", 1 << 20)), "nothing is known: try"
    for _ in range(4):
        model.observe_step(Work(1), 0.01)
        model.observe_step(Work.span(0, 100), 0.1)
    model.observe_transfer("restore", 1 << 20, 0.01)
    model.observe_transfer("read", 1 << 20, 0.2)
    assert model.worth_moving(0, 100, ("restore", 1 << 20))
    assert not model.worth_moving(0, 100, ("restore", 1 << 20), ("read", 1 << 20))


def test_joining_is_worth_it_while_it_takes_less_than_the_passes_of_a_few_steps() -> None:
    model = CostModel()
    assert not model.worth_joining(1, 1000), "nothing is known of passes"
    for count in (1, 2, 3, 5):
        model.observe_step(Work(8, passes=count), 0.02 * count + 0.01)
        model.observe_step(Work(16, passes=count), 0.02 * count + 0.02)
    assert model.worth_joining(1, 1000), "moves were never measured: try"
    model.observe_transfer("move", 1000, 0.1)
    assert not model.worth_joining(1, 1000) and model.worth_joining(2, 1000)
    assert any(model.worth_joining(1, 1000) for _ in range(10)), "some time it is tried again"


def test_a_transfer_that_is_refused_is_tried_again_some_time() -> None:
    model = CostModel()
    model.observe_step(Work(1), 0.01)
    model.observe_step(Work.span(0, 100), 0.1)
    model.observe_transfer("read", 1000, 5.0)
    refusals = 0
    while not model.worth_moving(0, 100, ("read", 1000)):
        refusals += 1
    assert 10 < refusals < 100
