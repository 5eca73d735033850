"""The step loop on a real llama.cpp context: batching, resuming, preempting, sharing, limits."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from random import Random

import llama_cpp
import pytest
from msgspec.structs import replace

from aios_actors.engine.cost import Work
from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import (
    ChatMessage,
    ChatPrompt,
    Choice,
    Constraint,
    JsonSchema,
    Sampling,
    TextPrompt,
    TokenPrompt,
    ToolCalls,
    ToolSchema,
)
from aios_actors.engine.model import Model
from aios_actors.engine.plan import Plan
from aios_actors.engine.protocol import Cancel, Fault, NodeFrame, Ping, Preempt, Result, Submit
from tests.engine.driving import SCHEMA, TOOLS, AlwaysJoins, AlwaysMoves, Driver

MakeEngine = Callable[..., Engine]
GREEDY = Sampling(max_tokens=24, ignore_eos=True)
SEEDED = Sampling(max_tokens=24, temperature=0.9, top_p=0.95, seed=11, repeat_penalty=1.2, ignore_eos=True)


def chat(text: str, tools: tuple[ToolSchema, ...] = ()) -> ChatPrompt:
    return ChatPrompt((ChatMessage("system", "You are helpful. " * 3), ChatMessage("user", text)), tools)


# Room for two conversations, in places or in cells.
SMALL_CACHES = {"sequences": 2, "kv_unified": False}, {"sequences": 2, "cells": 512}


@pytest.fixture
def driver(make_engine: MakeEngine) -> Driver:
    return Driver(make_engine())


def alone(driver: Driver, submit: Submit) -> Result:
    return Driver(driver.engine).run(submit)[submit.id]


# What a request may ask for; each must come out the same however it is run.
KINDS: dict[str, tuple[Sampling, Constraint | None, tuple[ToolSchema, ...]]] = {
    "greedy": (GREEDY, None, ()),
    "seeded": (SEEDED, None, ()),
    "json": (Sampling(max_tokens=60, temperature=1.0, seed=3), JsonSchema(SCHEMA), ()),
    "calls": (Sampling(max_tokens=60, temperature=1.0, seed=1), ToolCalls("required"), TOOLS),
    "auto": (Sampling(max_tokens=30, temperature=1.0, seed=6, ignore_eos=True), ToolCalls("auto"), TOOLS),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_slices_add_up_to_the_uninterrupted_run(driver: Driver, kind: str, size: int) -> None:
    sampling, constraint, tools = KINDS[kind]
    prompt = chat("Tell me", tools)
    whole = alone(driver, Submit(1, prompt, sampling, constraint))
    text, generated, finish, rounds = "", (), "", 0
    while finish in ("", "slice"):
        part = Driver(driver.engine)
        result = part.run(Submit(1, prompt, sampling, constraint, generated, "talk", slice=size))[1]
        assert generated + part.tokens_of(1) == result.tokens
        assert result.tokens_out == len(result.tokens) - len(generated)
        text, generated, finish = text + part.text_of(1), result.tokens, part.finish_of(1)
        rounds += 1
    assert rounds > 1
    assert (generated, text) == (whole.tokens, whole.text)
    assert result.tool_calls == whole.tool_calls


@pytest.mark.parametrize("kind", KINDS)
def test_another_worker_continues_what_a_killed_one_had_announced(
    driver: Driver, make_engine: MakeEngine, kind: str
) -> None:
    sampling, constraint, tools = KINDS[kind]
    submit = Submit(1, chat("Tell me", tools), sampling, constraint)
    whole = alone(driver, submit)
    other = make_engine()
    killed = Driver(driver.engine)
    driver.engine.submit(submit)
    for _ in range(2):
        killed.events += driver.engine.step()
    generated = killed.tokens_of(1)
    assert 0 < len(generated) < len(whole.tokens)
    resumed = Driver(other)
    tokens = TokenPrompt(whole.prompt_tokens, tools)
    result = resumed.run(Submit(9, tokens, sampling, constraint, generated))[9]
    assert result.tokens == whole.tokens
    assert killed.text_of(1) + resumed.text_of(9) == whole.text == result.text
    assert [(c.name, c.arguments) for c in result.tool_calls] == [(c.name, c.arguments) for c in whole.tool_calls]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_stop_string_over_the_end_of_a_slice_is_found(driver: Driver, size: int) -> None:
    free = alone(driver, Submit(1, chat("Tell me"), GREEDY))
    stop = free.text[10:16]
    sampling = Sampling(max_tokens=24, stop=(stop,), ignore_eos=True)
    text, generated, finish = "", (), ""
    while finish in ("", "slice"):
        part = Driver(driver.engine)
        result = part.run(Submit(1, chat("Tell me"), sampling, None, generated, slice=size))[1]
        text, generated, finish = text + part.text_of(1), result.tokens, part.finish_of(1)
    assert finish == "stop"
    assert text == result.text == free.text[: free.text.index(stop)]


def test_many_at_once_give_what_each_gives_alone(driver: Driver) -> None:
    submits = [Submit(i, TextPrompt(f"number {i} and more " * (1 + i % 5)), GREEDY) for i in range(10)]
    expected = {s.id: alone(driver, s).tokens for s in submits}
    together = Driver(driver.engine).run(*submits)
    assert {i: r.tokens for i, r in together.items()} == expected


def test_all_kinds_of_requests_share_a_batch(driver: Driver) -> None:
    submits = [Submit(i, chat(f"Part {i}", t), s, c) for i, (s, c, t) in enumerate(KINDS.values())]
    expected = {s.id: alone(driver, s).tokens for s in submits}
    assert {i: r.tokens for i, r in Driver(driver.engine).run(*submits).items()} == expected


def test_a_preempted_request_continues_exactly(driver: Driver) -> None:
    submit = Submit(1, chat("Tell me"), SEEDED, conversation="a")
    whole = alone(driver, submit)
    driver.engine.submit(submit)
    for _ in range(6):
        driver.events += driver.engine.step()
    driver.engine.preempt(1)
    first = driver.run()[1]
    assert driver.finish_of(1) == "preempted"
    assert whole.tokens[: len(first.tokens)] == first.tokens != whole.tokens
    rest = Driver(driver.engine).run(Submit(2, chat("Tell me"), SEEDED, None, first.tokens, "a"))[2]
    assert rest.tokens == whole.tokens
    assert rest.tokens_cached == rest.tokens_in, "the KV stayed parked"


@pytest.mark.parametrize("kind", KINDS)
def test_requests_that_change_places_go_on_as_if_they_had_not(make_engine: MakeEngine, kind: str) -> None:
    engine = make_engine(AlwaysJoins(), sequences=6, kv_unified=False)
    sampling, constraint, tools = KINDS[kind]
    talks = {
        i: Submit(i, chat(f"Number {i}, tell me", tools), sampling, constraint, conversation=f"talk {i}")
        for i in range(6)
    }
    first = {i: alone(Driver(engine), submit) for i, submit in talks.items()}
    assert engine.kv.moved == 0, "one by one there is nothing to join"
    going = {i: replace(talks[i], prompt=TokenPrompt(first[i].prompt_tokens, tools)) for i in (0, 2, 5)}
    driver = Driver(engine)
    for submit in going.values():
        engine.submit(submit)
    while engine.has_work:
        driver.events += engine.step()
        lengths = [slot.length for slot in engine.kv.slots]
        assert [engine.model.resident(number) for number in range(6)] == lengths
    assert engine.stats().slots_moved == engine.kv.moved > 0
    assert {i: r.tokens for i, r in driver.results().items()} == {i: first[i].tokens for i in going}
    again = Driver(engine).run(*talks.values())
    assert {i: r.tokens for i, r in again.items()} == {i: r.tokens for i, r in first.items()}


def test_a_cancelled_request_ends_at_once_and_leaves_the_others_alone(driver: Driver) -> None:
    driver.engine.submit(Submit(1, chat("one"), GREEDY))
    driver.engine.submit(Submit(2, chat("two"), GREEDY))
    driver.events += driver.engine.step()
    driver.engine.cancel(1)
    driver.engine.cancel(77)
    assert [(e.id, e.finish) for e in driver.engine.step() if e.finish] == [(1, "cancelled")]
    assert len(driver.run()[2].tokens) == 24


def test_commands_that_come_while_a_step_is_computed_take_effect(driver: Driver) -> None:
    engine = driver.engine
    expected = {number: alone(driver, Submit(number, chat(f"Story {number}"), GREEDY)).tokens for number in (1, 2, 3)}
    commands = iter(
        (
            lambda: engine.submit(Submit(2, chat("Story 2"), GREEDY)),
            lambda: engine.cancel(1),
            lambda: engine.submit(Submit(3, chat("Story 3"), GREEDY)),
            lambda: engine.forget("nobody"),
            lambda: engine.preempt(3),
        )
    )
    engine.submit(Submit(1, chat("Story 1"), GREEDY))
    while engine.has_work:
        driver.events += engine.step(lambda: next(commands, lambda: None)())
    assert next(commands, None) is None
    assert {number: driver.finish_of(number) for number in (1, 2, 3)} == {1: "cancelled", 2: "length", 3: "preempted"}
    for number, tokens in expected.items():
        told = driver.tokens_of(number)
        assert told and told == tokens[: len(told)] == driver.results()[number].tokens
    assert driver.results()[2].tokens == expected[2]


def test_work_beside_a_step_is_done_once_for_each_batch(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    model = driver.engine.model
    computed: list[int] = []
    beside: list[int] = []
    decode = model.decode

    def counted(batch: llama_cpp.llama_batch, adapters: str) -> int:
        computed.append(decode(batch, adapters))
        return computed[-1]

    monkeypatch.setattr(model, "decode", counted)
    driver.engine.submit(Submit(1, chat("Tell me"), GREEDY))
    while driver.engine.has_work:
        driver.engine.step(lambda: beside.append(len(computed)))
    assert beside == list(range(1, len(computed) + 1))


def test_a_waiting_request_can_be_cancelled_and_preempted(make_engine: MakeEngine) -> None:
    driver = Driver(make_engine(sequences=1))
    for i in range(3):
        driver.engine.submit(Submit(i, TextPrompt(f"{i} words"), GREEDY))
    driver.events += driver.engine.step()
    driver.engine.cancel(1)
    driver.engine.preempt(2)
    driver.run()
    assert [driver.finish_of(i) for i in range(3)] == ["length", "cancelled", "preempted"]


def test_more_requests_than_slots_wait_and_all_end(make_engine: MakeEngine) -> None:
    driver = Driver(make_engine(sequences=2))
    results = driver.run(*(Submit(i, TextPrompt(f"{i} " * 9), GREEDY, conversation=f"c{i}") for i in range(12)))
    assert {len(r.tokens) for r in results.values()} == {24}
    assert results[11].queue_s > results[0].queue_s


def test_higher_priority_is_admitted_first(make_engine: MakeEngine) -> None:
    driver = Driver(make_engine(sequences=1))
    driver.run(*(Submit(i, TextPrompt(f"{i} {i}"), GREEDY, priority=p) for i, p in enumerate([0, 0, 5, 1])))
    assert [e.id for e in driver.events if e.finish] == [2, 3, 0, 1]


@pytest.mark.parametrize("small", SMALL_CACHES)
def test_conversations_beyond_the_cache_come_back_from_host_memory(
    make_engine: MakeEngine, small: dict[str, object]
) -> None:
    driver = Driver(make_engine(AlwaysMoves(), **small))
    prompts = {i: TextPrompt(f"{i} " * 60) for i in range(6)}
    first = driver.run(*(Submit(i, p, GREEDY, conversation=f"c{i}") for i, p in prompts.items()))
    later = Driver(driver.engine)
    turns = [
        Submit(i, TokenPrompt((*r.prompt_tokens, *r.tokens, 5, 6, 7)), GREEDY, conversation=f"c{i}")
        for i, r in first.items()
    ]
    results = later.run(*turns)
    fresh = Driver(make_engine(**small, host_memory=0))
    expected = fresh.run(*turns)
    assert {i: r.tokens for i, r in results.items()} == {i: r.tokens for i, r in expected.items()}
    assert all(r.tokens_cached >= r.tokens_in - 5 for r in results.values())
    assert driver.engine.stats().pages_in >= 4


def test_a_system_prompt_is_computed_once_for_all_that_start_together(driver: Driver) -> None:
    system = "You are one of many agents and this is a long system prompt. " * 4
    prompts = [ChatPrompt((ChatMessage("system", system), ChatMessage("user", f"{i}"))) for i in range(8)]
    results = driver.run(*(Submit(i, p, GREEDY) for i, p in enumerate(prompts)))
    expected = {i: alone(driver, Submit(i, p, GREEDY)).tokens for i, p in enumerate(prompts)}
    assert {i: r.tokens for i, r in results.items()} == expected
    shared = results[0].tokens_in
    computed = sum(r.tokens_in - r.tokens_cached for r in results.values())
    assert computed < shared + 8 * 16


def test_decoders_go_on_while_a_long_prompt_is_prefilled(driver: Driver) -> None:
    driver.engine.submit(
        Submit(1, TextPrompt("short"), Sampling(max_tokens=400, temperature=1.0, seed=2, ignore_eos=True))
    )
    for _ in range(3):
        driver.engine.step()
    driver.engine.submit(Submit(2, TokenPrompt((5,) * 480), GREEDY))  # longer than what is computed in one piece
    steps = []
    while not any(e.id == 2 for e in driver.events):
        driver.events = list(driver.engine.step())
        steps.append([e.id for e in driver.events])
    assert len(steps) > 2 and all(1 in ids for ids in steps)


def test_forced_tokens_are_not_sampled(driver: Driver) -> None:
    result = driver.run(Submit(1, chat("Go", TOOLS), Sampling(max_tokens=80), ToolCalls("required")))[1]
    assert driver.finish_of(1) == "tool_calls" and result.text == ""
    assert result.tool_calls[0].name in ("search", "list")
    assert result.tokens_forced * 2 > result.tokens_out
    assert driver.engine.stats().forced_tokens == result.tokens_forced


def test_unread_tokens_are_told_once_a_period_together_and_none_is_lost(make_model: Callable[..., Model]) -> None:
    ticks = itertools.count()
    engine = Engine(make_model(speculate="off"), clock=lambda: next(ticks) * 1e-3)
    texts = [chat(word) for word in ("read", "unread", "neither")]
    sampling = Sampling(max_tokens=200, ignore_eos=True)
    frames = []
    for number, text in enumerate(texts):
        engine.submit(Submit(number, text, sampling, report_s=0.2 * (number > 0)))
    while engine.has_work:
        frames.append({event.id: event for event in engine.step()})
    told = [[frame[number] for frame in frames if number in frame] for number in range(3)]
    assert len(told[0]) > 150 and 5 < len(told[1]) < 50
    assert [len(events[0].tokens) for events in told] == [1, 1, 1]
    assert all((1 in frame) == (2 in frame) for frame in frames)
    for number, events in enumerate(told):
        result = events[-1].result
        assert result is not None and result.tokens == tuple(token for event in events for token in event.tokens)
        assert result.text == "".join(event.text for event in events)
        assert result.tokens == alone(Driver(engine), Submit(9, texts[number], sampling)).tokens


def test_a_single_choice_needs_no_computation(driver: Driver) -> None:
    result = driver.run(Submit(1, chat("Go"), GREEDY, Choice(("exactly this",))))[1]
    assert result.text == driver.text_of(1) == "exactly this"
    assert driver.engine.stats().prefill_tokens == 0


def test_constrained_json_is_valid_in_any_temperature(driver: Driver) -> None:
    for seed in range(6):
        sampling = Sampling(temperature=1.5, seed=seed, max_tokens=120)
        value = json.loads(alone(driver, Submit(seed, chat("Go"), sampling, JsonSchema(SCHEMA))).text)
        assert set(value) == {"name", "kind"} and len(value["name"]) <= 12


def test_seeds_decide(driver: Driver) -> None:
    def tokens(seed: int) -> tuple[int, ...]:
        return alone(driver, Submit(1, chat("x"), Sampling(temperature=1.0, seed=seed, max_tokens=12))).tokens

    assert tokens(1) == tokens(1) != tokens(2)


def test_logprobs_come_with_their_tokens(driver: Driver) -> None:
    driver.run(Submit(1, chat("x"), Sampling(max_tokens=5, logprobs=2, ignore_eos=True)))
    entries = [entry for e in driver.events for entry in e.logprobs]
    assert tuple(e.token for e in entries) == driver.tokens_of(1)
    assert all(e.top[0] == (e.token, e.logprob) and len(e.top) == 2 for e in entries)


@pytest.mark.parametrize(
    ("submit", "code", "words"),
    [
        (Submit(1, TokenPrompt((5,) * 512)), "prompt_too_long", "512 tokens, but a sequence holds 512"),
        (Submit(1, TokenPrompt(())), "bad_prompt", "empty"),
        (Submit(1, TokenPrompt((5, 99_999))), "bad_prompt", "99999"),
        (Submit(1, TextPrompt("a"), generated=(-1,)), "bad_prompt", "generated has token -1"),
        (Submit(1, TextPrompt("a"), Sampling(logit_bias={5000: 1.0})), "bad_sampling", "logit_bias has token 5000"),
        (Submit(1, TextPrompt("a"), constraint=JsonSchema({"type": "bogus"})), "bad_constraint", "bogus"),
        (Submit(1, TextPrompt("a"), constraint=Choice(("x",)), generated=(7, 7)), "bad_constraint", "breaks"),
    ],
)
def test_a_request_that_cannot_be_served_gets_its_reason(driver: Driver, submit: Submit, code: str, words: str) -> None:
    error = driver.run(submit)[1].error
    assert error is not None and error.code == code and words in error.message
    assert driver.finish_of(1) == "error"
    assert len(alone(driver, Submit(1, TextPrompt("a"), GREEDY)).tokens) == 24, "the engine goes on"


def test_a_second_request_with_a_live_id_is_refused_and_the_first_goes_on(driver: Driver) -> None:
    driver.engine.submit(Submit(1, TextPrompt("a"), GREEDY))
    driver.engine.submit(Submit(1, TextPrompt("b"), GREEDY))
    ends = []
    while driver.engine.has_work:
        ends += [(e.finish, e.result.error) for e in driver.engine.step() if e.finish and e.result]
    assert [finish for finish, _ in ends] == ["error", "length"]
    assert ends[0][1] is not None and ends[0][1].code == "duplicate_id"


def test_an_error_of_our_own_ends_one_request_and_not_the_engine(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patched:
        patched.setattr(driver.engine.prompts, "sequence", broken)
        driver.engine.submit(Submit(1, TextPrompt("a"), GREEDY))
    results = driver.run(Submit(2, TextPrompt("b"), GREEDY))
    assert results[1].error == Fault("internal", "ZeroDivisionError: oops")
    assert len(results[2].tokens) == 24


def test_a_request_that_leaves_no_token_fails_alone(driver: Driver) -> None:
    nothing = Sampling(logit_bias={t: float("-inf") for t in range(driver.engine.model.vocab.size)})
    results = driver.run(Submit(1, TextPrompt("a"), nothing), Submit(2, TextPrompt("b"), GREEDY))
    assert results[1].error is not None and results[1].error.code == "bad_sampling"
    assert len(results[2].tokens) == 24


def test_a_plan_without_a_step_ends_in_an_error_and_not_in_a_loop(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(driver.engine._planner, "plan", lambda running, room, now: Plan([], Work()))
        result = driver.run(Submit(1, TextPrompt("a"), GREEDY))[1]
    assert result.error is not None and result.error.code == "internal"
    assert len(driver.run(Submit(2, TextPrompt("a"), GREEDY))[2].tokens) == 24


def test_a_sequence_ends_where_its_context_does(driver: Driver) -> None:
    result = driver.run(Submit(1, TokenPrompt((5,) * 500), Sampling(max_tokens=100, ignore_eos=True)))[1]
    assert driver.finish_of(1) == "length"
    assert result.tokens_in + result.tokens_out == 512


def test_resuming_what_had_ended_ends_it_again(driver: Driver) -> None:
    whole = alone(driver, Submit(1, chat("x"), GREEDY))
    again = Driver(driver.engine)
    result = again.run(Submit(1, chat("x"), GREEDY, generated=whole.tokens))[1]
    assert (again.finish_of(1), result.text, result.tokens_out) == ("length", whole.text, 0)


def test_unified_streams_give_the_same_tokens(driver: Driver, make_engine: MakeEngine) -> None:
    submits = [Submit(i, chat(f"Part {i}"), GREEDY, conversation=f"{i % 3}") for i in range(6)]
    split = driver.run(*submits)
    unified = Driver(make_engine(kv_unified=True)).run(*submits)
    assert {i: r.tokens for i, r in unified.items()} == {i: r.tokens for i, r in split.items()}


@pytest.mark.parametrize("unified", [False, True])
@pytest.mark.parametrize("speculate", ["auto", "on", "off"])
def test_the_accounts_add_up(make_engine: MakeEngine, speculate: str, unified: bool) -> None:
    driver = Driver(make_engine(speculate=speculate, kv_unified=unified))
    kinds = [(SEEDED, None, ()), *KINDS.values()]
    results = driver.run(*(Submit(i, chat(f"Part {i}", t), s, c) for i, (s, c, t) in enumerate(kinds * 2)))
    stats = driver.engine.stats()
    prompts = sum(r.tokens_in - r.tokens_cached for r in results.values())
    assert prompts <= stats.prefill_tokens <= prompts + stats.forced_tokens
    assert stats.prefill_tokens + stats.decode_tokens == sum(r.tokens_computed for r in results.values())
    assert stats.cached_tokens == sum(r.tokens_cached for r in results.values())
    assert stats.forced_tokens == sum(r.tokens_forced for r in results.values())
    assert stats.drafted_tokens == sum(r.tokens_drafted for r in results.values())
    assert stats.hit_rate == stats.cached_tokens / (stats.cached_tokens + stats.prefill_tokens)
    assert stats.accepted_tokens == sum(r.tokens_accepted for r in results.values())
    for r in results.values():
        needed = r.tokens_in - r.tokens_cached + r.tokens_out
        # The last token is computed only if it was a draft, and what is forced at the end is not computed at all.
        assert r.tokens_computed <= needed + r.tokens_drafted - r.tokens_accepted
        assert r.tokens_computed >= needed - 1 - r.tokens_forced
    assert (stats.running, stats.waiting) == (0, 0)
    held = sum(slot.length for slot in driver.engine.kv.slots)
    assert stats.kv_tokens <= stats.kv_capacity
    assert stats.kv_tokens < held if unified else stats.kv_tokens == held, "shared cells count once"
    assert all(min(r.queue_s, r.prefill_s, r.decode_s) >= 0 for r in results.values())


@pytest.mark.parametrize("seed", range(16))
def test_every_request_ends_whatever_time_steps_take(make_model: Callable[..., Model], seed: int) -> None:
    """Budgets and pages follow from measured times, which a busy machine scatters."""
    random = Random(seed)
    times = itertools.accumulate(
        random.expovariate(1e4) * (50 if random.random() < 0.1 else 1) for _ in itertools.count()
    )
    driver = Driver(Engine(make_model(), clock=lambda: next(times)))
    kinds = [(SEEDED, None, ()), *KINDS.values()]
    for number, (sampling, constraint, tools) in enumerate(kinds * 2):
        driver.engine.submit(Submit(number, chat(f"Part {number}", tools), sampling, constraint))
    for _ in range(2000):
        if not driver.engine.has_work:
            break
        driver.events += driver.engine.step()
    results = driver.results()
    assert len(results) == len(kinds) * 2 and not any(result.error for result in results.values())


def test_conversations_stay_in_shared_cells_beyond_those_that_run(make_engine: MakeEngine) -> None:
    engine = make_engine(sequences=2, kv_unified=True)
    prompts = {i: TextPrompt(f"{i} " * 30) for i in range(6)}
    first = Driver(engine).run(*(Submit(i, p, GREEDY, conversation=f"c{i}") for i, p in prompts.items()))
    later = Driver(engine)
    for i, result in first.items():
        tokens = (*result.prompt_tokens, *result.tokens, 5, 6, 7)
        engine.submit(Submit(i, TokenPrompt(tokens), GREEDY, conversation=f"c{i}"))
    most = 0
    while engine.has_work:
        later.events += engine.step()
        most = max(most, engine.stats().running)
    assert most == 2
    assert all(r.tokens_cached >= r.tokens_in - 4 and not r.pages_in for r in later.results().values())


@pytest.mark.parametrize("small", SMALL_CACHES)
def test_pages_are_accounted_to_the_requests_that_moved_them(make_engine: MakeEngine, small: dict[str, object]) -> None:
    driver = Driver(make_engine(AlwaysMoves(), **small))
    turns = [Submit(i, TextPrompt(f"{i % 5} " * 60), GREEDY, conversation=f"c{i % 5}") for i in range(15)]
    results = driver.run(*turns)
    stats = driver.engine.stats()
    assert stats.pages_in == sum(r.pages_in for r in results.values()) > 0
    assert stats.pages_out == sum(r.pages_out for r in results.values()) > 0


def abort_calls(driver: Driver, monkeypatch: pytest.MonkeyPatch, hasten: dict[int, NodeFrame]) -> list[int]:
    """Make `hasten` commands arrive just when the n-th decode call begins; the return codes of all calls."""
    codes: list[int] = []
    real = llama_cpp.llama_decode

    def decode(context: object, batch: object) -> int:
        if len(codes) in hasten:
            driver.engine.hasten(hasten[len(codes)])
        codes.append(real(context, batch))
        return codes[-1]

    monkeypatch.setattr(llama_cpp, "llama_decode", decode)
    return codes


URGENT = Submit(2, TextPrompt("now"), GREEDY, priority=1)


@pytest.mark.parametrize("call", [0, 1])
def test_an_aborted_prefill_is_taken_up_again_and_changes_nothing(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    first = Submit(5, TextPrompt("decoding"), GREEDY)
    long = Submit(1, TextPrompt("x y z " * 40), GREEDY)
    expected = {i: r.tokens for i, r in Driver(make_engine(batch=64)).run(first, long).items()}
    driver = Driver(make_engine(batch=64))
    codes = abort_calls(driver, monkeypatch, {call: URGENT})
    results = driver.run(first, long)
    assert codes[call] == 2 and codes.count(2) == 1
    assert {i: r.tokens for i, r in results.items()} == expected


def test_an_urgent_request_overtakes_a_prefill_under_way(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(make_engine(batch=64))
    codes = abort_calls(driver, monkeypatch, {0: URGENT})
    driver.engine.submit(Submit(1, TextPrompt("x y z " * 60), GREEDY))
    assert driver.engine.step() == () and codes == [2]
    driver.engine.submit(URGENT)
    driver.run()
    assert next(e.id for e in driver.events if e.tokens) == 2


@pytest.mark.parametrize(
    ("command", "aborts"),
    [
        (Cancel(1), True),
        (Preempt(1), True),
        (Cancel(9), False),
        (Submit(2, TextPrompt("a")), False),
        (Submit(2, TextPrompt("a"), priority=3), True),
        (Ping(1), False),
    ],
)
def test_only_what_cannot_wait_aborts(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, command: NodeFrame, aborts: bool
) -> None:
    codes = abort_calls(driver, monkeypatch, {0: command})
    driver.run(Submit(1, TextPrompt("x y z " * 40), Sampling(max_tokens=3, ignore_eos=True)))
    assert (codes[0] == 2) == aborts


def test_short_batches_and_idle_engines_are_not_aborted(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.engine.hasten(URGENT)
    codes = abort_calls(driver, monkeypatch, {0: URGENT, 3: URGENT})
    driver.run(Submit(1, TextPrompt("short"), GREEDY))
    assert set(codes) == {0}


def test_the_text_of_an_earlier_run_is_told_again_only_to_who_has_not_heard_it(driver: Driver) -> None:
    whole = alone(driver, Submit(1, chat("tell"), GREEDY))
    for number, retell in enumerate((False, True), 2):
        result = driver.run(Submit(number, chat("tell"), GREEDY, generated=whole.tokens[:10], retell=retell))[number]
        assert (result.text, driver.tokens_of(number)) == (whole.text, whole.tokens[10:])
        told = driver.text_of(number)
        assert told == whole.text if retell else whole.text.endswith(told) and told != whole.text
