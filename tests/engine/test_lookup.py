"""Prompt-lookup speculation: what is foretold, when it pays, and that it never changes an answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.lookup import LONGEST_DRAFT, Lookup, Speculation
from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import JsonSchema, Regex, Sampling, TextPrompt, TokenPrompt
from aios_actors.engine.protocol import Result, Submit
from tests.engine.driving import Driver

MakeEngine = Callable[..., Engine]
GREEDY = Sampling(max_tokens=60, ignore_eos=True)
CHEAP, DEAR = (1.0, 0.001), (0.001, 1.0)  # seconds of a step, and of a token more in it
PERIOD = (40, 41, 42, 43, 44)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 20))
def test_what_is_foretold_followed_the_last_three_tokens_before(tokens: list[int], most: int) -> None:
    followed = {tokens[end] for end in range(3, len(tokens)) if tokens[end - 3 : end] == tokens[-3:]}
    draft = Lookup(tokens).draft(most)
    assert len(draft) == (most if followed else 0)
    assert not draft or draft[0] in followed


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40))
def test_a_lookup_that_grew_is_one_that_began_later(before: list[int], after: list[int]) -> None:
    tokens = list(before)
    lookup = Lookup(tokens)
    outcomes = []
    for token in after:
        foretold = lookup.draft(1)
        tokens.append(token)
        seen = lookup.observe()
        assert seen == ([foretold[0] == token] if foretold else [])
        outcomes += seen
    assert lookup.draft(5) == Lookup(before + after).draft(5)
    assert (lookup.rate > 0.0) == any(outcomes)


def test_a_repetition_goes_on_with_itself() -> None:
    assert Lookup([1, 2, 3, 1, 2, 3, 1]).draft(7) == [2, 3, 1, 2, 3, 1, 2]


def ready(rate: float) -> Lookup:
    return Lookup([1, 2, 3, 4, 5, 6, 1, 2, 3], rate)


@pytest.mark.parametrize(
    ("rate", "line", "length"),
    [
        (1.0, CHEAP, LONGEST_DRAFT),
        (0.9, DEAR, 0),
        (0.0, CHEAP, 0),
        (0.5, (0.75, 0.25), 1),  # a token costs a quarter of a step; 0.5 > 0.25, and 0.5 squared is not
        (0.8, None, 3),
    ],
)
def test_drafts_are_as_long_as_they_pay(rate: float, line: tuple[float, float] | None, length: int) -> None:
    (draft,) = Speculation("auto", split=False).drafts([(ready(rate), 99)], line)
    assert len(draft) == length


def test_many_decoders_make_a_drafted_token_dearer() -> None:
    lookups = [(ready(0.6), 99) for _ in range(32)]
    one = Speculation("auto", split=False).drafts(lookups[:1], (0.5, 0.1))
    many = Speculation("auto", split=False).drafts(lookups, (0.5, 0.1))
    assert one[0] and not any(many)


def test_split_streams_draft_alike_or_pay_for_another_pass() -> None:
    line = (0.9, 0.1)
    speculation = Speculation("auto", split=True)
    alike = speculation.drafts([(ready(0.9), 99), (ready(0.7), 99)], line)
    assert len(alike[0]) == len(alike[1]) > 0
    lone = speculation.drafts([(ready(0.9), 3), (Lookup([7]), 99), (Lookup([8]), 99)], line)
    assert lone == [[], [], []], "another pass over the weights costs more than three tokens bring"
    assert speculation.drafts([(ready(0.9), 3), (ready(0.9), 3)], None) == [[], []]


def test_off_and_on() -> None:
    assert Speculation("off", split=False).lookup([1]) is None
    assert len(Speculation("on", split=True).drafts([(ready(0.0), 5), (Lookup([7]), 5)], DEAR)[0]) == 5


# Few tokens to choose from make even a random model repeat itself now and then, so that drafts are right and wrong.
FEW = {token: 50.0 for token in (40, 41, 42, 43)}
LIST = {"type": "array", "items": {"enum": ["first", "second"]}, "minItems": 9}
KINDS = {
    "greedy": (GREEDY, None),
    "seeded": (Sampling(max_tokens=60, temperature=3.0, top_p=0.9, seed=5, logit_bias=FEW, ignore_eos=True), None),
    "penalties": (
        Sampling(max_tokens=60, repeat_penalty=1.05, frequency_penalty=0.1, logit_bias=FEW, ignore_eos=True),
        None,
    ),
    "json": (Sampling(max_tokens=90, temperature=2.0, seed=3), JsonSchema(LIST)),
    "repeats": (Sampling(max_tokens=60, temperature=1.0, seed=3), Regex("(a|bc[xy]def){9}")),
}  # fmt: skip
PROMPTS = {
    "a period": TokenPrompt(PERIOD * 8),
    "words": TextPrompt("the heart of the matter and the heat of the other and " * 3),
}


def compare(make_engine: MakeEngine, submits: list[Submit], **settings: object) -> tuple[Engine, dict[int, Result]]:
    """Run with drafts and without; the answers are the same. The engine with drafts, and its results."""
    plain = Driver(make_engine(speculate="off", **settings))
    drafting = Driver(make_engine(speculate="on", **settings))
    expected, results = plain.run(*submits), drafting.run(*submits)
    for submit in submits:
        ours, theirs = results[submit.id], expected[submit.id]
        assert (ours.tokens, ours.text) == (theirs.tokens, theirs.text)
        assert drafting.finish_of(submit.id) == plain.finish_of(submit.id)
        assert drafting.tokens_of(submit.id) == plain.tokens_of(submit.id)
    for slot in drafting.engine.kv.slots:
        assert drafting.engine.model.resident(slot.index) == slot.length, "the books are what is resident"
    return drafting.engine, results


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unified", [False, True])
def test_drafts_never_change_the_output(make_engine: MakeEngine, kind: str, prompt: str, unified: bool) -> None:
    sampling, constraint = KINDS[kind]
    engine, _ = compare(make_engine, [Submit(1, PROMPTS[prompt], sampling, constraint)], kv_unified=unified)
    assert engine.stats().drafted_tokens > 0


def test_drafts_never_change_what_many_get_at_once(make_engine: MakeEngine) -> None:
    pairs = enumerate((p, s, c) for p in PROMPTS.values() for s, c in KINDS.values())
    engine, _ = compare(make_engine, [Submit(i, p, s, c) for i, (p, s, c) in pairs])
    assert engine.stats().accepted_tokens > 0


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_limit_within_a_draft_holds(make_engine: MakeEngine, limit: int) -> None:
    sampling = Sampling(max_tokens=limit, logit_bias={40: 90.0}, ignore_eos=True)
    compare(make_engine, [Submit(1, TokenPrompt((40,) * 9), sampling)])


def test_a_stop_string_within_a_draft_ends_the_text_there(make_engine: MakeEngine) -> None:
    sampling = Sampling(max_tokens=60, temperature=3.0, seed=5, logit_bias=FEW, ignore_eos=True)
    whole = Driver(make_engine(speculate="off")).run(Submit(1, PROMPTS["a period"], sampling))[1].text
    for start in range(6, 40, 7):
        stopping = Sampling(
            max_tokens=60, temperature=3.0, seed=5, logit_bias=FEW, ignore_eos=True, stop=(whole[start : start + 4],)
        )
        compare(make_engine, [Submit(1, PROMPTS["a period"], stopping)])


@pytest.mark.parametrize("size", [1, 4, 9])
def test_slices_and_drafts_add_up_to_the_uninterrupted_run(make_engine: MakeEngine, size: int) -> None:
    sampling, _ = KINDS["seeded"]
    prompt = PROMPTS["a period"]
    whole = Driver(make_engine(speculate="off")).run(Submit(1, prompt, sampling))[1]
    engine = make_engine(speculate="on")
    generated: tuple[int, ...] = ()
    while len(generated) < len(whole.tokens):
        result = Driver(engine).run(Submit(1, prompt, sampling, None, generated, "talk", slice=size))[1]
        assert len(result.tokens) - len(generated) == min(size, len(whole.tokens) - len(generated))
        generated = result.tokens
    assert generated == whole.tokens


def test_a_request_preempted_amid_drafts_continues_exactly(make_engine: MakeEngine) -> None:
    sampling, _ = KINDS["seeded"]
    submit = Submit(1, PROMPTS["a period"], sampling, conversation="talk")
    whole = Driver(make_engine(speculate="off")).run(submit)[1]
    engine = make_engine(speculate="on")
    first = Driver(engine)
    engine.submit(submit)
    while len(first.tokens_of(1)) < 20:
        first.events += engine.step()
    engine.preempt(1)
    generated = first.run()[1].tokens
    rest = Driver(engine).run(Submit(2, submit.prompt, sampling, None, generated, "talk"))[2]
    assert rest.tokens == whole.tokens


def test_repetitive_text_needs_fewer_steps(make_engine: MakeEngine) -> None:
    sampling = Sampling(max_tokens=64, logit_bias={40: 90.0}, ignore_eos=True)
    engine = make_engine(speculate="on")
    result = Driver(engine).run(Submit(1, TokenPrompt((40,) * 9), sampling))[1]
    assert result.tokens == (40,) * 64
    assert result.tokens_accepted >= 50
    assert engine.stats().steps < 20


def test_auto_drafts_nothing_on_text_that_does_not_repeat_itself(make_engine: MakeEngine) -> None:
    engine = make_engine(speculate="auto")
    sampling = Sampling(max_tokens=200, temperature=1.0, seed=1, ignore_eos=True)
    result = Driver(engine).run(Submit(1, TextPrompt("hello"), sampling))[1]
    assert len(set(result.tokens)) > 100 and result.tokens_drafted == 0


def test_drafts_never_change_what_is_suspended_for_want_of_cells(make_engine: MakeEngine) -> None:
    sampling, _ = KINDS["seeded"]
    submits = [Submit(i, TokenPrompt((*PERIOD * 16, 50 + i)), sampling, conversation=f"c{i}") for i in range(6)]
    engine, results = compare(make_engine, submits, kv_unified=True, cells=256, context=256)
    stats = engine.stats()
    assert stats.suspended > 0 and stats.drafted_tokens > 0
    assert stats.prefill_tokens + stats.decode_tokens == sum(r.tokens_computed for r in results.values())
    assert stats.accepted_tokens == sum(r.tokens_accepted for r in results.values())
