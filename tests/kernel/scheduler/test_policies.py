"""Policies: order, slices, and that no job is lost, doubled or invented."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.config.structs import SchedulerConfig
from aios_actors.engine.messages import ChatPrompt
from aios_actors.kernel.scheduler.job import Job
from aios_actors.kernel.scheduler.policies import Fifo, Policy, RoundRobin, make_policy
from aios_actors.syscalls.llm import Chat


def job(number: int) -> Job:
    return Job(number, "agent", Chat(()), cast(Any, None), ChatPrompt(()), arrived=float(number))


def ids(policy: Policy) -> list[int]:
    return [each.id for each in iter(policy.next, None) if each is not None]


def test_fifo_runs_in_order_of_arrival() -> None:
    policy = Fifo()
    for number in (3, 1, 2):
        policy.add(job(number))
    assert ids(policy) == [3, 1, 2]


def test_a_job_whose_worker_died_goes_to_the_front() -> None:
    policy = Fifo()
    policy.add(job(1))
    policy.requeue(job(2), lost=True)
    assert ids(policy) == [2, 1]


def test_round_robin_puts_a_sliced_job_at_the_back() -> None:
    policy = RoundRobin(slice=8)
    policy.add(job(1))
    policy.add(job(2))
    first = policy.next()
    assert first is not None
    policy.requeue(first, lost=False)
    assert ids(policy) == [2, 1]


@pytest.mark.parametrize(("name", "slice"), [("fifo", 0), ("round_robin", 64)])
def test_the_config_names_the_policy(name: str, slice: int) -> None:
    assert make_policy(SchedulerConfig(policy=cast(Any, name))).slice == slice


@given(
    st.sampled_from(["fifo", "round_robin"]),
    st.lists(st.sampled_from(["add", "next", "requeue", "lost", "remove"]), max_size=60),
)
def test_no_policy_loses_or_doubles_a_job(name: str, steps: list[str]) -> None:
    policy = make_policy(SchedulerConfig(policy=cast(Any, name)))
    waiting: set[int] = set()
    running: list[Job] = []
    for number, step in enumerate(steps):
        if step == "add":
            policy.add(job(number))
            waiting.add(number)
        elif step == "next":
            chosen = policy.next()
            assert (chosen is None) == (not waiting)
            if chosen is not None:
                waiting.remove(chosen.id)
                running.append(chosen)
        elif step in ("requeue", "lost") and running:
            back = running.pop()
            policy.requeue(back, lost=step == "lost")
            waiting.add(back.id)
        elif step == "remove" and waiting:
            gone = waiting.pop()
            assert policy.remove(job(gone))
            assert not policy.remove(job(gone))
        assert len(policy) == len(waiting)
    assert sorted(ids(policy)) == sorted(waiting)
