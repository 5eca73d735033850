"""Every policy in the simulator: what must hold on any trace, and what each is for, against fifo and the oracle."""

import statistics
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.policies import POLICIES
from aios_actors.kernel.scheduler.simulator import (
    CallTrace,
    EngineCost,
    Oracle,
    ProgramTrace,
    flood,
    heavy_tailed,
    interactive_and_batch,
    jain,
    read_trace,
    simulate,
    write_trace,
)

NAMES = sorted(POLICIES)
CONFIG = SchedulerConfig(slice=8, ageing_s=1.0)

calls = st.builds(
    CallTrace, prompt=st.integers(1, 150), output=st.integers(1, 60), think_s=st.sampled_from([0.0, 0.0, 0.3])
)
programs = st.builds(
    ProgramTrace,
    arrives=st.floats(0, 3),
    calls=st.lists(calls, min_size=1, max_size=4).map(tuple),
    agent=st.sampled_from("abcd"),
    weight=st.sampled_from([1.0, 2.0]),
    priority=st.integers(0, 3),
    deadline_s=st.sampled_from([None, 0.5, 5.0]),
)
traces = st.lists(programs, min_size=1, max_size=12).map(tuple)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(trace=traces, places=st.integers(1, 4))
def test_each_call_ends_once_and_no_place_is_idle_while_a_call_waits(
    name: str, trace: tuple[ProgramTrace, ...], places: int
) -> None:
    report = simulate(trace, POLICIES[name], places=places, config=CONFIG)
    ended, refused = Counter[int](), set[int]()
    for call in report.calls:
        if call.refused:
            refused.add(call.program)
        else:
            ended[call.program] += 1
            assert call.arrived < call.first_token <= call.ended
            assert 0 <= call.waited < call.ended - call.arrived
    for number, program in enumerate(trace):
        assert ended[number] <= len(program.calls)
        assert ended[number] == len(program.calls) or (number in refused and program.deadline_s is not None)
    assert report.idle_s == 0.0
    assert name == "deadline" or not refused


@pytest.mark.parametrize("name", NAMES)
def test_nothing_starves_under_an_endless_stream_of_more_urgent_calls(name: str) -> None:
    poor = ProgramTrace(0.0, (CallTrace(100, 40),), "poor")
    stream = (
        ProgramTrace(0.1 * n, (CallTrace(5, 12),), f"rich-{n % 5}", priority=5, deadline_s=9.0) for n in range(1500)
    )
    report = simulate((poor, *stream), POLICIES[name], places=1, config=CONFIG)
    assert report.seconds > 150
    assert report.programs[0] < 75


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    places=st.integers(1, 8),
    weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=2, max_size=5),
)
def test_fair_keeps_backlogged_groups_within_what_turns_can_cost(seed: int, places: int, weights: list[float]) -> None:
    lengths = [(7 * (seed + n) % 90 + 1, 11 * (seed + 3 * n) % 70 + 1) for n in range(40)]
    trace = tuple(
        ProgramTrace(0.0, (CallTrace(prompt, output),), f"g{group}", weight=weight)
        for group, weight in enumerate(weights)
        for prompt, output in lengths
    )
    report = simulate(trace, POLICIES["fair"], places=places, config=CONFIG)
    turn = (max(prompt for prompt, _ in lengths) * CONFIG.prompt_cost + CONFIG.slice) / min(weights)
    assert max(report.shares.values()) - min(report.shares.values()) <= turn * (2 + places)


@given(st.permutations(range(12)))
def test_deadline_and_priority_keep_their_order_on_one_place(ranks: list[int]) -> None:
    for name in ("deadline", "priority"):
        trace = tuple(
            ProgramTrace(0.0, (CallTrace(5, 5),), f"a{n}", priority=-rank, deadline_s=100.0 + rank)
            for n, rank in enumerate(ranks)
        )
        report = simulate(trace, POLICIES[name], places=1)
        assert [ranks[call.program] for call in report.calls] == sorted(ranks)


def test_the_oracle_is_never_worse_than_fifo_and_best_on_one_place() -> None:
    trace = heavy_tailed(seed=3, programs=60, every_s=1.0)
    best = simulate(trace, Oracle, places=1).turnaround.mean
    assert all(best <= simulate(trace, POLICIES[name], places=1).turnaround.mean for name in NAMES)


def test_least_attained_halves_the_turnaround_of_fifo_and_comes_near_the_oracle() -> None:
    means = {
        name: statistics.fmean(simulate(heavy_tailed(seed), policy).turnaround.mean for seed in (1, 2, 3))
        for name, policy in (("fifo", POLICIES["fifo"]), ("least", POLICIES["least_attained"]), ("oracle", Oracle))
    }
    assert means["fifo"] >= 2.0 * means["least"], means
    assert means["least"] <= 1.2 * means["oracle"], means


@pytest.mark.parametrize("name", ["fair", "priority"])
def test_an_interactive_agent_waits_a_fifth_of_what_it_would_under_fifo(name: str) -> None:
    trace = interactive_and_batch(seed=1)
    fifo, ours = (simulate(trace, POLICIES[each]).waiting("user").p99 for each in ("fifo", name))
    assert fifo >= 5 * ours > 0


def test_a_flood_takes_nothing_from_the_others_under_fair() -> None:
    trace = flood(seed=1)
    assert jain(simulate(trace, POLICIES["fair"]).shares.values()) >= 0.99
    assert jain(simulate(trace, POLICIES["fifo"]).shares.values()) < 0.5


def test_a_simulation_depends_on_its_arguments_alone() -> None:
    trace = heavy_tailed(seed=5, programs=50)
    assert simulate(trace, POLICIES["mlfq"]) == simulate(trace, POLICIES["mlfq"])
    slower = EngineCost(step_s=0.02)
    assert simulate(trace, POLICIES["mlfq"], cost=slower).seconds > simulate(trace, POLICIES["mlfq"]).seconds


def test_a_trace_is_the_same_after_a_file(tmp_path: Path) -> None:
    trace = interactive_and_batch(seed=2, seconds=20)
    write_trace(tmp_path / "trace.jsonl", trace)
    assert read_trace(tmp_path / "trace.jsonl") == trace


def test_one_call_alone_takes_what_the_cost_model_says() -> None:
    trace = (ProgramTrace(1.0, (CallTrace(100, 5),), "a"),)
    report = simulate(trace, POLICIES["fifo"], cost=EngineCost(step_s=0.1, token_s=0.01, chunk=64))
    (call,) = report.calls
    assert call.first_token == pytest.approx(1.0 + (0.1 + 0.64) + (0.1 + 0.36))
    assert call.ended == pytest.approx(call.first_token + 4 * 0.11)
    assert report.turnaround.mean == pytest.approx(call.ended - 1.0)
