"""More demand than KV cache: no request fails, and every answer is what it would have been with room for all.

In shared cells attention sums over a sequence's cells in the order in which they happened to be free, so logits differ
in their last bits from those of split streams. Where answers differ there, the tokens must have been near-equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import llama_cpp
import pytest

from aios_actors.engine.batch import Batch
from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import JsonSchema, Sampling, TextPrompt, TokenPrompt
from aios_actors.engine.model import Model
from aios_actors.engine.protocol import Submit
from tests.engine.driving import AlwaysMoves, Driver

MakeEngine = Callable[..., Engine]
MakeModel = Callable[..., Model]
EXACT = {"kv_type_k": "f32", "kv_type_v": "f32"}
NEARLY = 0.05  # of a logit, whose standard deviation in the tiny model is 0.6
ANSWER = Sampling(max_tokens=40, ignore_eos=True)


def turns(driver: Driver, agents: int, rounds: int, length: int = 90) -> dict[int, tuple[int, ...]]:
    """Conversations that all go on at once, several turns each; their tokens at the end, by agent."""
    contexts = {agent: tuple(5 + (agent * 31 + i * 7) % 200 for i in range(length)) for agent in range(agents)}
    for turn in range(rounds):
        submits = [
            Submit(1000 * turn + agent, TokenPrompt((*tokens, 5, 6 + turn)), ANSWER, conversation=f"agent {agent}")
            for agent, tokens in contexts.items()
        ]
        results = Driver(driver.engine).run(*submits)
        assert not any(result.error for result in results.values())
        for submit in submits:
            result = results[submit.id]
            assert result.tokens_out == 40
            contexts[submit.id % 1000] = (*result.prompt_tokens, *result.tokens)
    return contexts


def assert_same(ours: dict[int, tuple[int, ...]], expected: dict[int, tuple[int, ...]], model: Model) -> None:
    """Equal, or parted where the model finds both next tokens nearly equal."""
    assert ours.keys() == expected.keys()
    for key, tokens in ours.items():
        at = next((i for i, (a, b) in enumerate(zip(tokens, expected[key], strict=True)) if a != b), None)
        if at is None:
            continue
        model.truncate(0, 0)
        batch = Batch(model.batch)
        batch.add(0, tokens[:at], 0, outputs=1)
        assert model.decode(batch.raw) == 0
        logits = model.logits(1)[0]
        assert min(logits[tokens[at]], logits[expected[key][at]]) > logits.max() - NEARLY, (key, at)


@pytest.fixture
def roomy(make_engine: MakeEngine) -> Driver:
    """An engine with KV cells for all 32 agents."""
    return Driver(make_engine(sequences=32, context=512, **EXACT))


def test_eight_times_the_kv_cache_in_split_streams_fails_no_request(
    make_engine: MakeEngine, roomy: Driver, tmp_path: Path
) -> None:
    settings = {"sequences": 4, "context": 512, "disk_folder": str(tmp_path), "host_memory": 600_000} | EXACT
    tight = Driver(make_engine(AlwaysMoves(), **settings))
    assert turns(tight, 32, 3) == turns(roomy, 32, 3)
    stats = tight.engine.stats()
    assert stats.pages_out > 32 and stats.pages_in > 32 and stats.pages_refused == 0
    assert stats.page_bytes <= 600_000 and stats.disk_bytes > 0
    # Without pages it would be four times.
    assert stats.prefill_tokens <= 2 * roomy.engine.stats().prefill_tokens


def test_eight_times_the_kv_cache_in_shared_cells_fails_no_request(
    make_engine: MakeEngine, make_model: MakeModel, roomy: Driver
) -> None:
    tight = Driver(make_engine(AlwaysMoves(), sequences=16, context=512, cells=768, **EXACT))
    assert_same(turns(tight, 32, 3), turns(roomy, 32, 3), make_model(**EXACT))
    stats = tight.engine.stats()
    assert stats.kv_capacity == 768 and stats.kv_tokens <= 768
    assert stats.pages_in > 0


def test_a_suspended_request_goes_on_where_it_was(make_engine: MakeEngine, make_model: MakeModel) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 60}}, "required": ["name"]}
    greedy = Sampling(max_tokens=150, ignore_eos=True)
    submits = [
        Submit(1, TextPrompt("one " * 30), greedy),
        Submit(2, TextPrompt("two " * 30), greedy, conversation="two"),
        Submit(3, TextPrompt("three " * 30), greedy),
        Submit(4, TextPrompt("four " * 30), Sampling(max_tokens=150), JsonSchema(schema)),
        Submit(5, TextPrompt("five " * 30), greedy, priority=1),
    ]
    roomy = Driver(make_engine(sequences=8, context=512, **EXACT)).run(*submits)
    tight = Driver(make_engine(sequences=8, context=512, cells=512, **EXACT))
    results = tight.run(*submits)
    whole = {i: (*r.prompt_tokens, *r.tokens) for i, r in results.items()}
    assert_same(whole, {i: (*r.prompt_tokens, *r.tokens) for i, r in roomy.items()}, make_model(**EXACT))
    assert json.loads(results[4].text).keys() == {"name"}
    assert {i: tight.tokens_of(i) for i in results} == {i: r.tokens for i, r in results.items()}, "announced once"
    assert tight.engine.stats().suspended > 0
    assert set(tight.engine.kv.pages._by_conversation) <= {"two"}, "nothing is kept of requests that have ended"


def test_the_oldest_and_most_urgent_keep_their_cells(make_engine: MakeEngine) -> None:
    tight = Driver(make_engine(sequences=4, context=512, cells=512))
    long = Sampling(max_tokens=250, ignore_eos=True)
    tight.run(
        Submit(1, TokenPrompt((7,) * 100), long),
        Submit(2, TokenPrompt((8,) * 100), long),
        Submit(3, TokenPrompt((9,) * 100), long, priority=1),
    )
    assert [e.id for e in tight.events if e.finish] == [3, 1, 2]


def test_parked_conversations_make_way_for_a_request_that_needs_all_cells(make_engine: MakeEngine) -> None:
    driver = Driver(make_engine(sequences=8, context=512, cells=512))
    turns(driver, 4, 1)
    result = Driver(driver.engine).run(Submit(1, TokenPrompt((7,) * 500), Sampling(max_tokens=12, ignore_eos=True)))[1]
    assert result.error is None and result.tokens_out == 12


def test_a_request_larger_than_the_whole_cache_is_refused_at_once(make_engine: MakeEngine) -> None:
    driver = Driver(make_engine(sequences=8, context=1024, cells=512))
    assert driver.engine.info().context == 512 and driver.engine.info().cells == 512
    driver.engine.submit(Submit(1, TokenPrompt((7,) * 600)))
    (event,) = driver.engine.step()
    assert event.finish == "error" and event.result is not None and event.result.error is not None
    assert event.result.error.code == "prompt_too_long" and "holds 512" in event.result.error.message


def test_no_room_where_the_books_saw_some_suspends_instead_of_failing(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(make_engine(sequences=4, context=512, kv_unified=True))
    real, calls = llama_cpp.llama_decode, []

    def decode(context: object, batch: object) -> int:
        calls.append(1)
        return 1 if len(calls) == 3 else int(real(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", decode)
    results = driver.run(*(Submit(i, TextPrompt(f"{i} " * 20), ANSWER) for i in range(3)))
    assert {r.tokens_out for r in results.values()} == {40} and driver.engine.stats().suspended == 1
