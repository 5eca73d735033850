"""Each family parses what its models write and constrains them to it; real templates are read where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aios_actors.engine.chat import ChatTemplate
from aios_actors.engine.constrain import ConstraintError, Grammars
from aios_actors.engine.families import Family, family_of
from aios_actors.engine.families.gemma import Gemma
from aios_actors.engine.families.harmony import Harmony
from aios_actors.engine.families.hermes import Hermes
from aios_actors.engine.families.llama3 import Llama3
from aios_actors.engine.families.mistral import Mistral
from aios_actors.engine.messages import ChatMessage, ChatPrompt, ToolCall, ToolCalls, ToolSchema
from aios_actors.engine.model import Model
from aios_actors.engine.stream import TextStream

TOOLS = (
    ToolSchema("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}),
    ToolSchema("storage.read", "", {"properties": {"path": {"type": "string"}}, "required": ["path"]}),
)
ADD, READ = ("add", {"a": 1}), ("storage.read", {"path": 'x "y" {z}\n'})
PATH = '"x \\"y\\" {z}\\n"'

CASES: list[tuple[Family, str, list[tuple[str, dict[str, object]]], str, str]] = [
    (Hermes(""), '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', [ADD], "", ""),
    (
        Hermes(""),
        '<think>hm</think>\nOk.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>\n'
        f'{{"name": "storage.read", "arguments": {{"path": {PATH}}}}}\n</tool_call>',
        [ADD, READ],
        "Ok.\n",
        "hm",
    ),
    (Hermes(""), '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', [ADD], "", ""),
    (
        Hermes(""),
        '<tool_call>{"name": "storage.read", "arguments": {"path": "<tool_call></tool_call>"}}</tool_call>',
        [("storage.read", {"path": "<tool_call></tool_call>"})],
        "",
        "",
    ),
    (Llama3(""), '{"name": "add", "parameters": {"a": 1}}', [ADD], "", ""),
    (Llama3(""), '<|python_tag|>{"name": "add", "arguments": {"a": 1}}<|eom_id|>', [ADD], "", ""),
    (
        Llama3(""),
        f'{{"name": "add", "parameters": {{"a": 1}}}}; {{"name": "storage.read", "parameters": {{"path": {PATH}}}}}',
        [ADD, READ],
        "",
        "",
    ),
    (
        Mistral(""),
        '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "storage.read", "arguments": {"path": '
        f"{PATH}}}}}]",
        [ADD, READ],
        "",
        "",
    ),
    (
        Mistral(""),
        '[THINK]hm[/THINK]Ok.[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]storage.read[CALL_ID]abc[ARGS]{"path": '
        f"{PATH}}}",
        [ADD, READ],
        "Ok.",
        "hm",
    ),
    (
        Harmony(""),
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.add<|channel|>commentary json"
        '<|message|>{"a": 1}',
        [ADD],
        "",
        "hm",
    ),
    (
        Harmony(""),
        "<|channel|>commentary to=functions.storage.read <|constrain|>json<|message|>" + f'{{"path": {PATH}}}',
        [READ],
        "",
        "",
    ),
    (
        Harmony(""),
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>It is 1.",
        [],
        "It is 1.",
        "hm",
    ),
    (
        Gemma(""),
        "<|channel>thought\nhm<channel|><|tool_call>call:add{a:1}<tool_call|><|tool_call>call:storage.read"
        '{path:<|"|>x "y" {z}\n<|"|>}<tool_call|>',
        [ADD, READ],
        "",
        "hm",
    ),
    (
        Gemma(""),
        '<|tool_call>call:f{list:[<|"|>a,b:c<|"|>,2.5,true,null],inner:{k:<|"|><|"|>}}<tool_call|>',
        [("f", {"list": ["a,b:c", 2.5, True, None], "inner": {"k": ""}})],
        "",
        "",
    ),
]


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize(("family", "raw", "calls", "text", "reasoning"), CASES)
def test_output_is_taken_apart(
    family: Family, raw: str, calls: list[tuple[str, dict[str, object]]], text: str, reasoning: str, chunk: int
) -> None:
    stream = TextStream((), family, tools=True)
    shown = "".join(stream.push(raw[i : i + chunk].encode()) for i in range(0, len(raw), chunk))
    rest, parsed = stream.finish("seed")
    assert [(c.name, c.arguments) for c in parsed] == calls
    assert len({c.id for c in parsed}) == len(parsed)
    assert (shown + rest, stream.reasoning) == (text, reasoning)


BROKEN = ["", "{", '{"name": "add"', "[1]"]
BROKEN_OBJECTS = [
    '{"name": 3, "arguments": {}}',
    '{"name": "add", "arguments": [1]}',
    '{"name": "add", "arguments": "x"}',
]


@pytest.mark.parametrize("family", [Hermes(""), Llama3(""), Mistral(""), Harmony(""), Gemma("")])
@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_call_is_none(family: Family, body: str) -> None:
    opener = family.openers[0]
    for source in (opener + body, f"{opener}add<|message|>{body}", f"{opener}call:add{body}<tool_call|>"):
        assert family.parse(source, "seed") is None


@pytest.mark.parametrize("family", [Hermes(""), Llama3(""), Mistral("")])
@pytest.mark.parametrize("body", BROKEN_OBJECTS)
def test_an_object_that_is_no_call_is_none(family: Family, body: str) -> None:
    assert family.parse(family.openers[0] + body, "seed") is None


MARKERS = {
    Hermes: ("", '<tool_call>{"name": "add", "arguments": {"a": 7}}</tool_call>'),
    Llama3: ("", '{"name": "add", "parameters": {"a": 7}}'),
    Mistral: ("", '[TOOL_CALLS][{"name": "add", "arguments": {"a": 7}}]'),
    Harmony: ("", ' to=functions.add<|channel|>commentary json<|message|>{"a": 7}'),
    Gemma: ("", "<|tool_call>call:add{a:7}<tool_call|>"),
}


@pytest.mark.parametrize("kind", MARKERS)
def test_the_grammar_takes_what_the_parser_understands(model: Model, kind: type[Family]) -> None:
    template, raw = MARKERS[kind]
    family = kind(template)
    grammars = Grammars(model.vocab, family)
    for mode in ("required", "auto"):
        matcher = grammars.matcher(ToolCalls(mode), TOOLS)  # type: ignore[arg-type]
        assert matcher is not None
        matcher.consume(model.vocab.tokenize(raw, special=True))
        assert matcher.complete
    other = grammars.matcher(ToolCalls("required"), TOOLS)
    assert other is not None
    with pytest.raises(ConstraintError):
        other.consume(model.vocab.tokenize(raw.replace("add", "sub"), special=True))


TEMPLATES = Path(os.environ.get("LLAMA_CPP_SOURCE", "")) / "models" / "templates"
REAL = {
    "Qwen-Qwen3-0.6B.jinja": Hermes,
    "Qwen-Qwen2.5-7B-Instruct.jinja": Hermes,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja": Hermes,
    "meta-llama-Llama-3.1-8B-Instruct.jinja": Llama3,
    "meta-llama-Llama-3.3-70B-Instruct.jinja": Llama3,
    "mistralai-Mistral-Nemo-Instruct-2407.jinja": Mistral,
    "Mistral-Small-3.2-24B-Instruct-2506.jinja": Mistral,
    "google-gemma-2-2b-it.jinja": Hermes,
    "google-gemma-4-31B-it.jinja": Gemma,
    "openai-gpt-oss-120b.jinja": Harmony,
    "microsoft-Phi-3.5-mini-instruct.jinja": Hermes,
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja": Hermes,
}


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason="LLAMA_CPP_SOURCE does not name llama.cpp's source")
@pytest.mark.parametrize("name", REAL)
def test_real_templates_render_tools_calls_and_results(model: Model, name: str) -> None:
    template = ChatTemplate((TEMPLATES / name).read_text(), model.vocab)
    assert type(template.family) is REAL[name]
    talk = ChatPrompt(
        (
            ChatMessage("system", "Be brief."),
            ChatMessage("user", "Add 41"),
            ChatMessage("assistant", "", (ToolCall("abcdefghi", "add", {"a": 41}),)),
            ChatMessage("tool", "result 42", tool_call_id="abcdefghi", name="add"),
        ),
        TOOLS,
    )
    text = template.render(talk)
    for part in ("Add 41", "Adds.", "41", "result 42"):
        assert part in text
    assert text.index("Add 41") < text.index("result 42")
    before = template.render(ChatPrompt(talk.messages[:2], TOOLS))
    assert "Be brief." in before and "result 42" not in before


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason="LLAMA_CPP_SOURCE does not name llama.cpp's source")
@pytest.mark.parametrize("name", [n for n, kind in REAL.items() if kind in (Hermes, Llama3, Harmony, Gemma)])
def test_models_write_calls_as_their_templates_show_them(model: Model, name: str) -> None:
    template = ChatTemplate((TEMPLATES / name).read_text(), model.vocab)
    start = (ChatMessage("system", "S"), ChatMessage("user", "U"))
    call = ChatMessage("assistant", "", (ToolCall("abcdefghi", "add", {"a": 41}),))
    result = ChatMessage("tool", "QQQ", tool_call_id="abcdefghi", name="add")
    shown = template.render(ChatPrompt((*start, call, result), TOOLS)).split("QQQ")[0]
    stream = TextStream((), template.family, tools=True)
    opener = template.family.openers[0] if template.family.openers[0] in shown else template.family.bare_opener
    stream.push(shown[shown.rindex(opener) :].split("<|im_end|>")[0].split("<|eot_id|>")[0].encode())
    calls = stream.finish("seed")[1]
    assert [(c.name, c.arguments) for c in calls][:1] == [("add", {"a": 41})]


def test_an_unknown_template_is_taken_for_hermes() -> None:
    assert family_of("{{ messages }}").name == "hermes"
