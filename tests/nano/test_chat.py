"""The chat template, rendered with jinja2, gives the text that training uses."""

import itertools
import json
import random

import jinja2.sandbox
import pytest

from aios_actors.nano.chat import (
    TEMPLATE,
    TURN_END,
    TURN_START,
    call_text,
    conversation,
    prompt,
    tool_line,
    trace,
    turn,
)
from aios_actors.nano.tasks import held_out_tasks, training_tasks
from aios_actors.nano.world import ToolSpec

# As in Hugging Face's environment, `tojson` is plain `json.dumps`.
ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
ENVIRONMENT.filters["tojson"] = json.dumps
COMPILED = ENVIRONMENT.from_string(TEMPLATE)


def rendered(messages, tools=(), add_generation_prompt=False):
    """The text that the template gives."""
    return COMPILED.render(messages=messages, tools=list(tools), add_generation_prompt=add_generation_prompt)


def messages_of(task, as_text):
    messages = [{"role": "system", "content": task.system}] if task.system else []
    messages.append({"role": "user", "content": task.input})
    for call in task.calls:
        arguments = json.dumps(call.arguments) if as_text else call.arguments
        function = {"name": call.tool, "arguments": arguments}
        messages.append(
            {
                "role": "assistant",
                "content": call.thought or None,
                "tool_calls": [{"type": "function", "function": function}],
            }
        )
        messages.append({"role": "tool", "content": call.result})
    return [*messages, {"role": "assistant", "content": task.answer}]


@pytest.mark.parametrize("as_text", [True, False], ids=["arguments as text", "arguments as a dict"])
def test_the_template_renders_what_training_uses(as_text):
    tasks = [*itertools.islice(training_tasks(1), 200), *held_out_tasks(1, 60, True)]
    for task in tasks:
        assert rendered(messages_of(task, as_text), [tool.schema() for tool in task.tools]) == trace(task)


def test_a_prompt_ends_where_the_assistant_begins():
    messages = [{"role": "user", "content": "What is 37 times 14?"}]
    text = rendered(messages, add_generation_prompt=True)
    assert text == prompt("", (), "What is 37 times 14?") + "<|im_start|>assistant\n"


def test_a_plain_chat_has_no_system_turn_and_a_bare_tool_renders():
    assert rendered([{"role": "user", "content": "Hello"}]) == turn("user", "Hello")
    tool = {"type": "function", "function": {"name": "now", "description": "The time.\nMore.", "parameters": {}}}
    text = rendered([{"role": "user", "content": "Hello"}], [tool])
    assert text == turn("system", "Tools:\n- The time. #now()") + turn("user", "Hello")


def test_optional_parameters_and_unions_render():
    properties = {"a": {"type": "integer"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
    parameters = {"type": "object", "properties": properties, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "f", "description": "Does.", "parameters": parameters}}
    text = rendered([{"role": "system", "content": "You are."}, {"role": "user", "content": "x"}], [tool])
    assert text.startswith(turn("system", "You are.\nTools:\n- Does. #f(a: integer, b?: string)"))


def test_a_call_is_one_json_object_between_its_tokens():
    text = call_text("calculator", {"expression": "37*14"})
    assert text == '<tool_call>{"name": "calculator", "arguments": {"expression": "37*14"}}</tool_call>'


def test_a_tool_without_a_description_renders():
    tool = ToolSpec("now", "")
    assert rendered([{"role": "user", "content": "x"}], [tool.schema()]) == prompt("", (tool,), "x")


def test_a_conversation_solves_its_tasks_in_turn_with_the_tools_of_all():
    tasks = list(itertools.islice(training_tasks(4), 3))
    text = conversation(tasks, random.Random(1))
    listed = text[: text.index(TURN_END)]
    assert {line for task in tasks for line in map(tool_line, task.tools)} <= set(listed.splitlines())
    ends = [text.index(turn("user", task.input)) for task in tasks]
    assert ends == sorted(ends)
    assert all(turn("assistant", task.answer) in text[end:] for task, end in zip(tasks, ends, strict=True))
    assert text.count(f"{TURN_START}assistant") == sum(len(task.calls) + 1 for task in tasks)


def test_acknowledgements_vary_only_when_asked():
    tasks = list(itertools.islice(training_tasks(2), 100))
    assert [trace(task) for task in tasks] == [trace(task) for task in tasks]
    assert any(trace(task) != trace(task, random.Random(n)) for n, task in enumerate(tasks))
