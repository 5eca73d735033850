"""LoRA adapters: each request is computed with its own set, whatever runs beside it, and KV is never shared across."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aios_actors.engine.adapters import STEPS_A_TURN, Turns
from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import Sampling, TextPrompt
from aios_actors.engine.model import LoadError
from aios_actors.engine.protocol import Submit
from scripts.bench.make_model import SHAPES
from tests.engine.driving import AlwaysMoves, Driver
from tests.lora import write_adapter

MakeEngine = Callable[..., Engine]
GREEDY = Sampling(max_tokens=24, ignore_eos=True)
PROMPT = TextPrompt("You are one of many agents and this is what all of them are told. " * 3)
NAMES = ("law", "code")
LAYERS, WIDTH = SHAPES["tiny"].layers, SHAPES["tiny"].width


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(folder / f"{name}.gguf", seed, LAYERS, WIDTH) for seed, name in enumerate(NAMES)}


SETS: tuple[dict[str, float], ...] = ({}, {"law": 1.0}, {"code": 1.0}, {"law": 0.5, "code": 0.5}, {"law": 0.25})


def alone(engine: Engine, chosen: dict[str, float]) -> tuple[int, ...]:
    return Driver(engine).run(Submit(1, PROMPT, GREEDY, adapters=chosen))[1].tokens


@pytest.fixture
def expected(make_engine: MakeEngine, adapters: dict[str, str]) -> list[tuple[int, ...]]:
    """What each set gives on an engine that served nothing else."""
    return [alone(make_engine(adapters=adapters), chosen) for chosen in SETS]


def test_each_set_of_adapters_has_its_own_output(make_engine: MakeEngine, expected: list[tuple[int, ...]]) -> None:
    assert len(set(expected)) == len(SETS)
    assert alone(make_engine(), {}) == expected[0], "without an adapter it is the model itself"


@pytest.mark.parametrize("unified", [False, True])
def test_a_mixed_batch_gives_each_request_its_own_result(
    make_engine: MakeEngine, adapters: dict[str, str], expected: list[tuple[int, ...]], unified: bool
) -> None:
    engine = make_engine(adapters=adapters, sequences=6, kv_unified=unified)
    submits = [Submit(i, PROMPT, GREEDY, adapters=SETS[i % len(SETS)]) for i in range(15)]
    results = Driver(engine).run(*submits)
    assert [results[i].tokens for i in range(15)] == expected * 3


def test_kv_is_never_shared_between_sets_and_shared_within_one(
    make_engine: MakeEngine, adapters: dict[str, str], expected: list[tuple[int, ...]]
) -> None:
    driver = Driver(make_engine(adapters=adapters, sequences=8))
    for i, chosen in enumerate((*SETS, *SETS)):
        result = driver.run(Submit(i, PROMPT, GREEDY, adapters=chosen))[i]
        assert result.tokens == expected[i % len(SETS)]
        assert result.tokens_cached == (0 if i < len(SETS) else result.tokens_in - 1)


def test_pages_of_one_set_are_not_taken_for_another(
    make_engine: MakeEngine, adapters: dict[str, str], expected: list[tuple[int, ...]]
) -> None:
    driver = Driver(make_engine(AlwaysMoves(), adapters=adapters, sequences=1))
    for i, chosen in enumerate((*SETS, *SETS)):
        result = driver.run(Submit(i, PROMPT, GREEDY, adapters=chosen, conversation=f"c{i % len(SETS)}"))[i]
        assert result.tokens == expected[i % len(SETS)]
    assert driver.engine.stats().pages_in == len(SETS)


def test_a_scale_of_zero_is_no_adapter(make_engine: MakeEngine, adapters: dict[str, str]) -> None:
    driver = Driver(make_engine(adapters=adapters))
    driver.run(Submit(1, PROMPT, GREEDY))
    assert driver.run(Submit(2, PROMPT, GREEDY, adapters={"law": 0.0}))[2].tokens_cached > 0


def test_an_unknown_adapter_is_refused_with_those_there_are(make_engine: MakeEngine, adapters: dict[str, str]) -> None:
    result = Driver(make_engine(adapters=adapters)).run(Submit(1, PROMPT, GREEDY, adapters={"lwa": 1.0}))[1]
    assert result.error is not None and result.error.code == "bad_adapter"
    assert result.error.message == "there is no adapter 'lwa'; this worker has law, code"


def test_an_adapter_that_does_not_fit_stops_the_start(make_engine: MakeEngine, tmp_path: Path) -> None:
    wrong = write_adapter(tmp_path / "wide.gguf", 0, LAYERS, 96)
    with pytest.raises(
        LoadError, match=r"cannot load adapter 'wide' from .*wide.gguf for this model: .*incorrect shape"
    ) as caught:
        make_engine(adapters={"wide": wrong})
    assert caught.value.code == "bad_adapter"
    with pytest.raises(LoadError, match="adapter 'gone': .*No such file"):
        make_engine(adapters={"gone": str(tmp_path / "gone.gguf")})


def test_every_set_gets_its_turn_and_the_urgent_one_at_once() -> None:
    turns = Turns()
    order = [turns.next({"a": 0, "b": 0, "c": 0}) for _ in range(6 * STEPS_A_TURN)]
    assert order == [key for key in "abcabc" for _ in range(STEPS_A_TURN)]
    assert turns.next({"a": 0, "b": 3}) == "b"
    assert turns.next({"a": 0, "b": 0}) == "b"
    assert turns.next({"a": 0}) == "a"
