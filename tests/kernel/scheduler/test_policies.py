"""Policies one by one: who goes first, how long a turn is, who makes room; and that no call is lost or doubled."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.config.schema import config_schema
from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.line import Line, Turn
from aios_actors.kernel.scheduler.policies import POLICIES, Policy, Program, Ticket, UnknownPolicy, find_policy

CONFIG = SchedulerConfig(slice=8, ageing_s=10.0, prompt_cost=0.5, cached_cost=0.0)


def make(name: str) -> Policy:
    return POLICIES[name](CONFIG)


def ticket(number: int, **fields: Any) -> Ticket:
    return Ticket(number, **{"agent": f"agent-{number}", "arrived": float(number), "group": f"g{number}", **fields})


def ids(policy: Policy, now: float = 0.0) -> list[int]:
    return [each.id for each in iter(lambda: policy.next(now), None) if each is not None]


def order(name: str, *tickets: Ticket) -> list[int]:
    policy = make(name)
    for each in tickets:
        policy.add(each)
    return ids(policy)


def line_of(name: str, *tickets: Ticket, places: int = 1) -> Line:
    line = Line(CONFIG, make(name), places)
    for each in tickets:
        line.policy.add(each)
    return line


def test_fifo_runs_in_order_of_arrival_to_the_end() -> None:
    assert order("fifo", ticket(3), ticket(1), ticket(2)) == [1, 2, 3]
    assert make("fifo").slice(ticket(1)) == 0


@pytest.mark.parametrize("name", ["fifo", "round_robin", "priority", "mlfq", "deadline"])
def test_a_call_whose_worker_died_goes_to_the_front(name: str) -> None:
    line = line_of(name, ticket(1), ticket(2))
    first = line.take(5.0)
    assert first is not None and first.id == 1
    line.back(first, 6.0, None, lost=True)
    assert ids(line.policy) == [1, 2]


def test_round_robin_puts_a_call_to_the_back_after_its_slice() -> None:
    line = line_of("round_robin", ticket(1), ticket(2))
    first = line.take(5.0)
    assert first is not None and line.policy.slice(first) == 8
    line.back(first, 6.0, Turn(0, 0, 8))
    assert ids(line.policy) == [2, 1]


def test_priority_goes_by_priority_and_each_ageing_s_makes_up_for_a_level() -> None:
    assert order("priority", ticket(1), ticket(2, priority=1)) == [2, 1]
    assert order("priority", ticket(1), ticket(12, priority=1)) == [1, 12]
    assert order("priority", ticket(1), ticket(20, priority=2)) == [20, 1]


@pytest.mark.parametrize(
    ("name", "urgent"),
    [
        ("priority", {"priority": 1}),
        ("deadline", {"deadline": 5.0}),
        ("mlfq", {"prompt_tokens": 0}),
        ("least_attained", {}),
    ],
)
def test_an_urgent_call_takes_the_place_of_a_running_one(name: str, urgent: dict[str, Any]) -> None:
    line = line_of(name, ticket(1, prompt_tokens=64, deadline=90.0, program=Program(64.0)))
    running = line.take(1.0)
    line.policy.add(ticket(2, **urgent))
    assert line.urge() is running
    assert line.urge() is None, "it was named already"
    assert running is not None
    line.back(running, 2.0, Turn(64, 0, 3))
    assert ids(line.policy) == [2, 1]
    assert line.served[""].preemptions == 1


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_equals_do_not_take_places_from_each_other(name: str) -> None:
    line = line_of(name, ticket(1))
    line.take(1.0)
    line.policy.add(ticket(2))
    assert line.urge() is None


def test_fair_serves_the_group_that_got_least_for_its_weight() -> None:
    calls = [ticket(n, group="heavy" if n % 2 else "light", weight=3.0 if n % 2 else 1.0) for n in range(400)]
    line = line_of("fair", *calls)
    tokens = {"heavy": 0, "light": 0}
    for turn in range(160):
        chosen = line.take(float(turn))
        assert chosen is not None
        tokens[chosen.group] += 8
        line.end(chosen, float(turn), Turn(0, 0, 8))
    assert tokens["heavy"] == pytest.approx(3 * tokens["light"], rel=0.05)


def test_fair_gives_no_credit_for_idleness() -> None:
    line = line_of("fair", *(ticket(n, group="busy") for n in range(100)))
    for turn in range(50):
        chosen = line.take(float(turn))
        assert chosen is not None
        line.end(chosen, float(turn), Turn(0, 0, 8))
    for n in range(100, 140):
        line.policy.add(ticket(n, group="idle"))
    served = [line.policy.next(0.0) for _ in range(20)]
    assert sum(each is not None and each.group == "idle" for each in served) == 10


def test_fair_counts_a_cached_prompt_as_what_it_costs() -> None:
    config = SchedulerConfig(policy="fair", slice=8, prompt_cost=1.0, cached_cost=0.1)
    line = Line(config, POLICIES["fair"](config), 1)
    for n in range(300):
        line.policy.add(ticket(n, group="cached" if n % 2 else "cold", prompt_tokens=100))
    count = {"cached": 0, "cold": 0}
    for turn in range(100):
        chosen = line.take(float(turn))
        assert chosen is not None
        count[chosen.group] += 1
        line.end(chosen, float(turn), Turn(100, 100 if chosen.group == "cached" else 0, 8))
    assert count["cached"] / count["cold"] == pytest.approx(108 / 18, rel=0.15)


def test_mlfq_begins_at_the_level_of_the_prompt_and_doubles_the_slice() -> None:
    policy = make("mlfq")
    assert [policy.slice(ticket(1, prompt_tokens=n)) for n in (0, 14, 16, 32, 64)] == [8, 1, 8, 16, 32]
    assert policy.slice(ticket(1, generated=8)) == 8
    assert order("mlfq", ticket(1, prompt_tokens=16), ticket(2), ticket(3, generated=24)) == [2, 1, 3]


def test_mlfq_and_least_attained_let_nothing_wait_for_ever() -> None:
    assert order("mlfq", ticket(1, prompt_tokens=16), ticket(12)) == [1, 12]
    assert order("least_attained", ticket(1, program=Program(8.0)), ticket(12)) == [1, 12]


def test_least_attained_goes_by_what_the_whole_program_has_had() -> None:
    large, small = Program(1000.0), Program(10.0)
    assert order("least_attained", ticket(1, program=large), ticket(2, program=small)) == [2, 1]
    line = line_of(
        "least_attained", ticket(1, program=small), ticket(2, program=small), ticket(3, program=Program(12.0))
    )
    first = line.take(1.0)
    assert first is not None and first.program is small
    line.end(first, 2.0, Turn(0, 0, 500))
    assert small.attained == 510.0
    assert ids(line.policy) == [3, 2], "the other call of the program went down with it"


def test_deadline_runs_the_earliest_first_and_the_late_ones_last() -> None:
    calls = (ticket(1), ticket(2, deadline=90.0), ticket(3, deadline=50.0), ticket(4, deadline=2.0))
    policy = make("deadline")
    for each in calls:
        policy.add(each)
    assert ids(policy, now=10.0) == [3, 2, 1, 4]


def test_deadline_refuses_what_cannot_make_it_behind_those_before_it() -> None:
    line = line_of("deadline", ticket(1, deadline=5.0))
    first = line.take(0.0)
    assert first is not None
    line.end(first, 4.0, Turn(0, 0, 8))
    assert line.service_s == 4.0
    for n in (2, 3, 4):
        line.policy.add(ticket(n, deadline=10.0))
    line.take(4.0)
    assert line.admits(ticket(5, deadline=17.0), 4.0) == (False, 16.0)
    assert line.admits(ticket(5, deadline=21.0), 4.0) == (True, 16.0)
    assert line.admits(ticket(5, deadline=9.0), 4.0) == (False, 8.0), "behind the running one alone"
    assert line.admits(ticket(5, deadline=math.inf), 4.0)[0]


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(st.tuples(st.sampled_from(["add", "take", "slice", "lost", "end", "leave", "swap"]), st.integers(0, 9))),
)
def test_no_policy_loses_or_doubles_a_call(name: str, steps: list[tuple[str, int]]) -> None:
    line = Line(CONFIG, make(name), places=3)
    waiting, running = dict[int, Ticket](), dict[int, Ticket]()
    for now, (step, n) in enumerate(steps):
        if step == "add":
            waiting[now] = ticket(now, group=f"g{n % 3}", priority=n % 4, deadline=now + 3.0 * n, prompt_tokens=n)
            line.policy.add(waiting[now])
        elif step == "take":
            chosen = line.take(now)
            assert (chosen is None) == (not waiting or len(running) == 3), "work-conserving"
            if chosen is not None:
                running[chosen.id] = waiting.pop(chosen.id)
        elif step in ("slice", "lost") and running:
            id, back = running.popitem()
            line.back(back, now, Turn(n, 0, n) if step == "slice" else None, lost=step == "lost")
            waiting[id] = back
        elif step == "end" and running:
            line.end(running.popitem()[1], now, Turn(n, 0, n))
        elif step == "leave" and waiting:
            gone = waiting.popitem()[1]
            assert not line.leave(gone, now)
            assert not line.policy.remove(gone)
        elif step == "swap":
            line.swap(make(sorted(POLICIES)[n % len(POLICIES)]), "", now)
        victim = line.urge()
        assert victim is None or victim.id in running
        assert len(line.policy) == len(waiting)
        assert line.running.keys() == running.keys()
    assert sorted(ids(line.policy, math.inf)) == sorted(waiting)


def test_a_policy_of_ones_own_is_found_by_module_and_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        from aios_actors.kernel.scheduler.policies import Ranked

        class ShortestPrompt(Ranked):
            def key(self, ticket):
                return ticket.prompt_tokens

        class Keyless(Ranked):
            pass
    """
    (tmp_path / "own_policies.py").write_text("\n".join(line[8:] for line in text.splitlines()))
    monkeypatch.syspath_prepend(tmp_path)
    policy = find_policy("own_policies:ShortestPrompt")(CONFIG)
    for n, prompt in enumerate((30, 10, 20)):
        policy.add(ticket(n, prompt_tokens=prompt))
    assert ids(policy) == [1, 2, 0]
    with pytest.raises(UnknownPolicy, match="lacks key"):
        find_policy("own_policies:Keyless")
    for name in ("lottery", "own_policies:Nothing", "own_policies:Ranked:x"):
        with pytest.raises(UnknownPolicy, match="is no policy"):
            find_policy(name)


def test_the_example_of_an_own_policy_draws_by_weight() -> None:
    line = Line(CONFIG, find_policy("agents.policies:Lottery")(CONFIG), 1)
    for n in range(400):
        line.policy.add(ticket(n, group="heavy" if n % 2 else "light", weight=3.0 if n % 2 else 1.0))
    first = [chosen.group for chosen in iter(lambda: line.policy.next(0.0), None) if chosen is not None][:100]
    assert 60 <= first.count("heavy") <= 90


def test_the_schema_of_the_config_names_every_policy() -> None:
    schema = config_schema()["$defs"]["SchedulerConfig"]["properties"]["policy"]
    assert schema["anyOf"][0]["enum"] == list(POLICIES)
