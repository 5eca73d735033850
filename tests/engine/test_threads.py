"""Threads leave CPUs to what else runs on them, and take them back."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine import device
from aios_actors.engine.batch import Batch
from aios_actors.engine.model import Model
from aios_actors.engine.threads import PAUSE_S, PERIOD_S, Load, Threads, _busy_ticks, read_load


class Machine:
    """CPUs on which others want `others` CPUs' worth of time, and get it before this process does."""

    def __init__(self, cpus: int, most: int) -> None:
        self.others = 0.0
        self.reads = 0
        self._now = 0.0
        self._load = Load(cpus, 100.0, 10.0)
        self.threads = Threads(most, self._read, lambda: self._now)

    def _read(self) -> Load:
        self.reads += 1
        return self._load

    def after(self, seconds: float, *, idle: bool = False) -> int:
        """Decodes for so long, or rests; how many threads there are then."""
        cpus = self._load.cpus
        number = 0 if idle else self.threads.wanted()
        others = min(self.others, cpus) * seconds
        own = min(number * seconds, cpus * seconds - others)
        self._now += seconds
        self._load = Load(cpus, self._load.busy + others + own, self._load.own + own)
        if not idle:
            self.threads.ended()
        return self.threads.wanted()


@given(
    cpus=st.integers(1, 32),
    most=st.integers(1, 32),
    loads=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 20), st.booleans()), max_size=20),
)
def test_there_is_always_a_thread_and_never_more_than_the_most(
    cpus: int, most: int, loads: list[tuple[float, float, bool]]
) -> None:
    machine = Machine(cpus, most)
    for machine.others, seconds, idle in loads:
        assert 1 <= machine.after(seconds, idle=idle) <= most


@pytest.mark.parametrize(("others", "number"), [(0.0, 8), (0.3, 8), (1.0, 7), (2.5, 5), (7.9, 1), (20.0, 1)])
def test_cpus_that_others_use_are_left_to_them_and_taken_back(others: float, number: int) -> None:
    machine = Machine(8, 8)
    assert machine.after(PERIOD_S) == 8
    machine.others = others
    assert machine.after(PERIOD_S) == number
    machine.others = 0.0
    assert machine.after(PERIOD_S) == 8


def test_others_on_more_cpus_than_are_wanted_take_none_of_them() -> None:
    machine = Machine(64, 4)
    machine.after(PERIOD_S)
    machine.others = 50.0
    assert machine.after(PERIOD_S) == 4


def test_load_is_read_twice_a_second() -> None:
    machine = Machine(4, 4)
    for _ in range(100):
        machine.after(PERIOD_S / 10)
    assert machine.reads == pytest.approx(10, abs=1)


def test_what_others_did_while_nothing_was_decoded_does_not_count() -> None:
    machine = Machine(4, 4)
    machine.after(PERIOD_S)
    machine.others = 3.0
    assert machine.after(PAUSE_S * 30, idle=True) == 4
    machine.others = 0.0
    assert machine.after(PERIOD_S) == 4
    machine.others = 3.0
    assert machine.after(PERIOD_S) == 1, "but also one long step tells"


def test_where_the_load_cannot_be_read_there_are_as_many_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(3, lambda: None, itertools.count().__next__)
    for _ in range(5):
        assert threads.wanted() == 3
        threads.ended()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {10**6})
    assert read_load() is None


def test_the_machines_own_load_is_that_of_the_usable_cpus() -> None:
    stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 50 60 4 5 99 0 0\ncpu1 10 0 0 70 0 0 0 0 0 0\nintr 5\n"
    assert (_busy_ticks(stat, {0}), _busy_ticks(stat, {0, 1})) == (15, 25)
    with pytest.raises(ValueError, match="lacks"):
        _busy_ticks(stat, {2})
    if (load := read_load()) is not None:
        assert load.cpus == len(os.sched_getaffinity(0)) and load.busy > 0 and load.own > 0


def test_the_number_of_threads_changes_nothing_of_the_output(make_model: Callable[..., Model]) -> None:
    model = make_model(threads=2, sequences=4)
    batch, seen = Batch(model.batch), []
    for number in (1, 2):
        llama_cpp.llama_set_n_threads(model.context, number, number)
        for sequence in range(4):
            model.truncate(sequence, 0)
        batch.clear()
        for sequence in range(4):
            batch.add(sequence, list(range(5, 40 + sequence)), 0, outputs=1)
        assert model.decode(batch.raw) == 0
        seen.append(np.array(model.logits(batch.outputs)))
        assert llama_cpp.llama_n_threads(model.context) == number, "who names a number gets it"
    assert np.array_equal(*seen)


@pytest.mark.parametrize(("tokens", "expected"), [(1, 1), (3, 1), (4, 3), (30, 3)])
def test_a_small_model_takes_the_free_threads_for_wide_batches_alone(
    make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tokens: int, expected: int
) -> None:
    model = make_model(threads=0)
    assert decoding_threads(model, monkeypatch, tokens) == expected


def test_a_model_whose_threads_nobody_named_takes_what_is_free(
    make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "SINGLE_THREAD_BYTES", 0)
    monkeypatch.setattr(device, "usable_cpus", lambda: 2)
    assert decoding_threads(make_model(threads=0), monkeypatch, 1) == 3


def decoding_threads(model: Model, monkeypatch: pytest.MonkeyPatch, tokens: int) -> int:
    """How many threads a batch of so many tokens has where three are free."""
    monkeypatch.setattr(model, "_adapted", Threads(3, lambda: None))
    batch = Batch(model.batch)
    batch.add(0, list(range(5, 5 + tokens)), 0, outputs=1)
    assert model.decode(batch.raw) == 0
    number = llama_cpp.llama_n_threads(model.context)
    assert llama_cpp.llama_n_threads_batch(model.context) == number
    return int(number)
