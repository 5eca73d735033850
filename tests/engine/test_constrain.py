"""Whatever tokens a constraint lets through, the text satisfies it; what cannot be enforced is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aios_actors.engine.constrain import ConstraintError, Grammars, Matcher
from aios_actors.engine.families import family_of
from aios_actors.engine.messages import Choice, Constraint, JsonSchema, Regex, ToolCalls, ToolSchema
from aios_actors.engine.model import Model
from aios_actors.engine.sampling import unpack_mask

TOOLS = (
    ToolSchema(
        "calculator",
        "",
        {
            "type": "object",
            "properties": {"expression": {"type": "string", "maxLength": 12}, "digits": {"type": "integer"}},
            "required": ["expression"],
        },
    ),
    ToolSchema(
        "memory.search", "", {"$defs": {"q": {"enum": ["x y", 'a"b']}}, "properties": {"q": {"$ref": "#/$defs/q"}}}
    ),
    ToolSchema("storage.list"),
)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "grün"]}, "maxItems": 2},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars(model: Model) -> Grammars:
    return Grammars(model.vocab, family_of(model.chat_template() or ""))


def walk(model: Model, matcher: Matcher, choices: Sequence[int], limit: int = 200) -> tuple[list[int], bool]:
    """Generate like the step loop, with `choices` instead of a model; the tokens, and whether the end was reached."""
    tokens: list[int] = []
    for choice in [*choices, *range(limit)]:
        while forced := matcher.forced():
            matcher.consume(forced)
            tokens += forced
        if matcher.complete:
            return tokens, True
        allowed = [int(t) for t in unpack_mask(matcher.mask(), model.vocab.size).nonzero()[0]]
        assert allowed, "no token is allowed, but the end is not reached"
        token = allowed[choice % len(allowed)]
        if token in model.vocab.eog:
            return tokens, True
        matcher.consume((token,))
        tokens.append(token)
    return tokens, False


def generate(model: Model, grammars: Grammars, constraint: Constraint, choices: Sequence[int]) -> str | None:
    """The text of a random walk; None if it found no end."""
    matcher = grammars.matcher(constraint, TOOLS)
    assert matcher is not None
    tokens, ended = walk(model, matcher, choices)
    return model.vocab.detokenize(tokens) if ended else None


choices = st.lists(st.integers(0, 1 << 16), min_size=20, max_size=60)


@settings(max_examples=40, deadline=None)
@given(choices=choices)
def test_json_satisfies_its_schema(model: Model, grammars: Grammars, choices: list[int]) -> None:
    text = generate(model, grammars, JsonSchema(PERSON), choices)
    if text is not None:
        jsonschema.validate(json.loads(text), PERSON)


@settings(max_examples=20, deadline=None)
@given(choices=choices)
def test_any_json_is_json(model: Model, grammars: Grammars, choices: list[int]) -> None:
    text = generate(model, grammars, JsonSchema({}), choices)
    if text is not None:
        json.loads(text)


@settings(max_examples=20, deadline=None)
@given(choices=choices)
def test_a_regex_is_matched_whole(model: Model, grammars: Grammars, choices: list[int]) -> None:
    text = generate(model, grammars, Regex(r"[A-F]{2}-[0-9]{1,3}(x|yy)?"), choices)
    assert text is not None and re.fullmatch(r"[A-F]{2}-[0-9]{1,3}(x|yy)?", text)


@settings(max_examples=20, deadline=None)
@given(choices=choices)
def test_a_choice_is_one_of_its_options(model: Model, grammars: Grammars, choices: list[int]) -> None:
    options = ("yes", "no", "yes, but", 'say "hi"\n', "größer")
    assert generate(model, grammars, Choice(options), choices) in options


@settings(max_examples=40, deadline=None)
@given(choices=choices)
def test_a_required_call_parses_and_satisfies_its_schema(model: Model, grammars: Grammars, choices: list[int]) -> None:
    text = generate(model, grammars, ToolCalls("required"), choices)
    if text is None:
        return
    parsed = family_of("<tool_call>").parse(text, "seed")
    assert parsed is not None and len(parsed.calls) == 1
    call = parsed.calls[0]
    schema = next(t.parameters for t in TOOLS if t.name == call.name)
    jsonschema.validate(call.arguments, schema)


@settings(max_examples=30, deadline=None)
@given(choices=choices)
def test_without_calls_there_is_none(model: Model, grammars: Grammars, choices: list[int]) -> None:
    matcher = grammars.matcher(ToolCalls("none"), TOOLS)
    assert matcher is not None
    tokens, _ = walk(model, matcher, choices, limit=0)
    assert "<tool_call>" not in model.vocab.detokenize(tokens)


def test_auto_allows_text_and_calls(model: Model, grammars: Grammars) -> None:
    for text in ("Hello there", 'Well: <tool_call>{"name": "storage.list", "arguments": {}}</tool_call>'):
        matcher = grammars.matcher(ToolCalls("auto"), TOOLS)
        assert matcher is not None
        matcher.consume(model.vocab.tokenize(text, special=True))
    broken = grammars.matcher(ToolCalls("auto"), TOOLS)
    assert broken is not None
    with pytest.raises(ConstraintError, match="breaks the constraint"):
        broken.consume(model.vocab.tokenize('<tool_call>{"name": "unknown"', special=True))


def test_forced_tokens_begin_a_required_call(model: Model, grammars: Grammars) -> None:
    matcher = grammars.matcher(ToolCalls("required"), TOOLS)
    assert matcher is not None
    assert model.vocab.detokenize(matcher.forced()).startswith('<tool_call>{"name": ')


def test_a_replayed_matcher_is_where_the_first_one_was(model: Model, grammars: Grammars) -> None:
    first, second = (grammars.matcher(JsonSchema(PERSON), ()) for _ in range(2))
    assert first is not None and second is not None
    tokens, _ = walk(model, first, [3, 1, 4, 1, 5], limit=0)
    second.consume(tokens)
    assert (second.mask() == first.mask()).all() and second.complete == first.complete


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        (JsonSchema({"type": "nonsense"}), "nonsense"),
        (JsonSchema({"type": "string", "not": {"const": "x"}}), "not"),
        (Regex("(unclosed"), "unclosed|regex|parse"),
        (Choice(()), "at least one option"),
        (ToolCalls("required"), "no tools"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_reason(
    grammars: Grammars, constraint: Constraint, reason: str
) -> None:
    with pytest.raises(ConstraintError, match=f"(?i){reason}"):
        grammars.matcher(constraint, ())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "enum", "const", "$ref", "$defs", "anyOf", "pattern", "required", "not"]
            )
            | st.text(max_size=4),
            inner | st.sampled_from(["object", "string", "array", "#/$defs/x", "(", "^a+$"]),
            max_size=4,
        )
    ),
    max_leaves=10,
)


def compiles_or_is_refused(grammars: Grammars, constraint: Constraint, tools: tuple[ToolSchema, ...] = ()) -> None:
    try:
        matcher = grammars.matcher(constraint, tools)
    except ConstraintError as error:
        assert str(error)
    else:
        assert matcher is not None and matcher.mask().any()


@settings(max_examples=60, deadline=None)
@given(schema=st.dictionaries(st.text(max_size=5) | st.sampled_from(["type", "enum", "$ref"]), json_values, max_size=4))
def test_any_schema_compiles_or_is_refused(grammars: Grammars, schema: dict[str, object]) -> None:
    compiles_or_is_refused(grammars, JsonSchema(schema))
    compiles_or_is_refused(grammars, ToolCalls("required"), (ToolSchema("f", "", schema),))


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=12))
@example(text="<tool_call>")
@example(text="a</tool_call>b")
@example(text="<|im_end|>")
def test_any_text_may_be_a_regex_an_option_or_a_tools_name(model: Model, grammars: Grammars, text: str) -> None:
    compiles_or_is_refused(grammars, Regex(text))
    option = generate(model, grammars, Choice((text, "other")), [0] * 3)
    assert option in (text, "other", None)
    matcher = grammars.matcher(ToolCalls("required"), (ToolSchema(text),))
    assert matcher is not None
    tokens, ended = walk(model, matcher, [], limit=400)
    if ended:
        parsed = family_of("<tool_call>").parse(model.vocab.detokenize(tokens), "seed")
        assert parsed is not None and parsed.calls[0].name == text
