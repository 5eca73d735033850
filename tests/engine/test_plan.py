"""What a step computes, with a cost model that says what its budget is."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.batch import Batch
from aios_actors.engine.cost import CostModel, Work
from aios_actors.engine.lookup import Speculation
from aios_actors.engine.plan import Plan, Planner
from aios_actors.engine.slots import Slot

BUDGET = 20


class Budget(CostModel):
    """Allows `tokens` of prefill, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = BUDGET
        self.quickly = 0
        self.asked: list[Work] = []

    def prefill_budget(self, decoding: Work, start: int, passes: int = 0) -> int:
        self.asked.append(decoding)
        return self.tokens

    def tokens_within(self, seconds: float, start: int) -> int:
        return self.quickly


class Requests:
    """Running requests, each in the slot of its number, and a planner for them."""

    def __init__(self, *, split: bool = True) -> None:
        self.slots = [Slot(index, 4096) for index in range(8)]
        self.cost = Budget()
        kv: Any = SimpleNamespace(slots=self.slots, split=split)
        self.planner = Planner(kv, Batch(512), self.cost, Speculation("off", split=split))
        self.running: list[Any] = []

    def add(self, slot: int, pending: int, *, decodes: bool = False, priority: int = 0, received: float = 0.0) -> None:
        """A request with 100 tokens in the cache and some that are not."""
        self.slots[slot].append([1] * 100)
        request = SimpleNamespace(id=slot, slot=slot, started=decodes, adapters="", lookup=None)
        request.tokens, request.submit = [1] * (100 + pending), SimpleNamespace(priority=priority)
        request.received = received
        self.running.append(request)

    def plan(self, room: int = 512, now: float = 0.0) -> Plan:
        return self.planner.plan(self.running, room, now)

    def step(self) -> dict[int, int]:
        """Plans a step and takes it as done; tokens by slot. Whoever has all tokens computed gets a new one."""
        return self.take(self.plan())

    def take(self, plan: Plan) -> dict[int, int]:
        """Takes a plan as done."""
        for chunk in plan.chunks:
            self.slots[chunk.sequence.slot].append(chunk.tokens)
            if chunk.complete:
                chunk.sequence.started = True
                chunk.sequence.tokens.append(1)
        return {chunk.sequence.slot: len(chunk.tokens) for chunk in plan.chunks}


def test_a_long_prompt_keeps_to_the_budget_in_every_step() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    requests.add(1, 1000)
    assert [requests.step() for _ in range(5)] == [{0: 1, 1: BUDGET}] * 5


def test_where_a_second_pass_takes_too_long_a_long_prompt_gets_the_token_that_needs_none() -> None:
    requests = Requests()
    for slot in (0, 2):
        requests.add(slot, 1, decodes=True)
    requests.add(1, 1000)
    requests.cost.tokens = 1
    for _ in range(3):
        plan = requests.plan()
        assert plan.work.passes == 1
        assert requests.take(plan) == {0: 1, 1: 1, 2: 1}
    requests.add(3, 40)
    assert requests.step() == {0: 1, 1: 1, 2: 1, 3: 40}, "short prompts are computed whole"
    assert [requests.step().get(1) for _ in range(10)] == [1] * 10


def test_a_short_prompt_is_computed_in_one_piece_and_others_pay_it_back() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    requests.add(1, 50)
    requests.add(2, 2000)
    shares = [requests.step() for _ in range(6)]
    assert shares[0] == {0: 1, 1: 50}
    assert shares[1] == {0: 1, 1: 1}, "30 tokens over the budget were borrowed"
    assert [step.get(2, 0) for step in shares[1:]] == [0, 10, BUDGET, BUDGET, BUDGET]


@pytest.mark.parametrize(
    ("budget", "quickly", "share"), [(1, 130, 130), (1, 129, 1), (1, 1000, 130), (16, 1000, 16), (15, 0, 15)]
)
def test_where_the_budget_is_small_what_takes_a_moment_is_computed_in_one_piece(
    budget: int, quickly: int, share: int
) -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    requests.add(1, 130)
    requests.cost.tokens, requests.cost.quickly = budget, quickly
    assert requests.step() == {0: 1, 1: share}
    requests.add(2, 130)
    assert requests.step().get(2, 0) <= budget, "it is paid back"


def test_however_fast_a_machine_is_a_piece_beyond_the_budget_has_a_bound() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    requests.add(1, 257)
    requests.cost.tokens, requests.cost.quickly = 4, 10_000
    assert requests.step() == {0: 1, 1: 4}


def test_of_several_short_prompts_one_goes_beyond_the_budget() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    requests.add(1, 48)
    requests.add(2, 48)
    assert requests.step() == {0: 1, 1: 48}


def test_what_is_left_of_the_budget_makes_no_small_pieces() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    requests.add(1, 12)
    requests.add(2, 500)
    assert requests.step() == {0: 1, 1: 12}, "8 tokens of the other would cost more than they are worth"


@pytest.mark.parametrize("split", [True, False])
def test_split_streams_between_decoders_are_no_gaps(split: bool) -> None:
    """llama.cpp computes neighbouring streams in one pass; with one pool of cells there are no streams."""
    requests = Requests(split=split)
    for slot in (0, 3, 5):
        requests.add(slot, 1, decodes=True)
    for slot in (1, 2, 4, 6):
        requests.add(slot, 500)
    plan = requests.plan()
    shares = {chunk.sequence.slot: len(chunk.tokens) for chunk in plan.chunks}
    if split:
        assert shares == {0: 1, 1: 1 + BUDGET, 2: 1, 3: 1, 4: 1, 5: 1}
        assert plan.work.passes == 2
    else:
        assert shares == {0: 1, 1: BUDGET, 3: 1, 5: 1}
        assert plan.work.passes == 1


def test_the_budget_looks_at_the_width_that_comes_and_few_decoders_do_not_stay_few() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True)
    for slot in (1, 2, 3):
        requests.add(slot, 40)
    requests.add(4, 4000)
    requests.plan()
    assert requests.cost.asked[-1].tokens == 4, "the decoder and three short prompts, not the long one"


def test_pieces_are_those_of_the_most_urgent_prompts() -> None:
    requests = Requests()
    requests.add(0, 1, decodes=True, priority=5)
    requests.add(1, 500)
    requests.add(2, 500, priority=5)
    assert requests.step() == {0: 1, 2: BUDGET}


def test_a_prompt_more_urgent_than_all_decoders_is_computed_as_if_there_were_none() -> None:
    requests = Requests()
    for slot, priority in ((0, 0), (1, 3)):
        requests.add(slot, 1, decodes=True, priority=priority)
    requests.add(2, 900)
    requests.add(3, 700, priority=4)
    assert requests.step() == {0: 1, 1: 1, 3: 510}
    assert requests.step() == {0: 1, 1: 1, 3: 190}
    assert requests.step() == {0: 1, 1: 1, 2: 1 + BUDGET, 3: 1}, "the other one waited for its turn"


def test_a_prompt_that_waited_long_enough_counts_as_more_urgent() -> None:
    requests = Requests()
    requests.add(0, 300, received=0.0)
    requests.add(1, 100, priority=2, received=59.0)
    assert {c.sequence.slot for c in requests.plan(now=59.9).chunks} == {1}
    assert {c.sequence.slot for c in requests.plan(now=60.0).chunks} == {0, 1}


def test_without_decoders_prompts_take_all_the_room() -> None:
    requests = Requests()
    requests.add(0, 300)
    requests.add(1, 300)
    assert requests.step() == {0: 300, 1: 212}


@given(
    prompts=st.dictionaries(st.integers(0, 7), st.tuples(st.integers(1, 300), st.booleans()), min_size=1),
    budgets=st.lists(st.integers(4, 400), min_size=1, max_size=5),
    room=st.integers(8, 512),
    split=st.booleans(),
)
def test_every_step_goes_on_and_every_prompt_gets_its_logits(
    prompts: dict[int, tuple[int, bool]], budgets: list[int], room: int, split: bool
) -> None:
    requests = Requests(split=split)
    for slot, (pending, decodes) in prompts.items():
        requests.add(slot, 1 if decodes else pending, decodes=decodes)
    for budget in itertools.islice(itertools.cycle(budgets), 1000):
        if all(request.started for request in requests.running):
            break
        requests.cost.tokens = budget
        pending = {r.slot: len(r.tokens) - requests.slots[r.slot].length for r in requests.running}
        decoders = {r.slot for r in requests.running if r.started}
        plan = requests.plan(room)
        shares = {chunk.sequence.slot: len(chunk.tokens) for chunk in plan.chunks}
        assert all(0 < share <= pending[slot] for slot, share in shares.items())
        assert [chunk.complete for chunk in plan.chunks] == [shares[slot] == pending[slot] for slot in shares]
        assert shares and decoders <= set(shares) and sum(shares.values()) <= room
        requests.take(plan)
    assert all(request.started for request in requests.running)
