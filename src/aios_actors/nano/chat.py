"""The nano model's chat format: special tokens, the jinja2 template, and the same rendering in Python for training.

A turn is `<|im_start|>ROLE`, a line break, its text, `<|im_end|>`, a line break. The system turn ends with the list of
tools, one line each, the name after the description: a causal model can then know at the name what the tool does. A
tool call is `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one to a turn, at times after a short text.
"""

import json
import random
from collections.abc import Sequence

from aios_actors.nano.tasks import Task
from aios_actors.nano.world import ToolSpec

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CALL_START, CALL_END = "<tool_call>", "</tool_call>"
CONTROL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
USER_DEFINED_TOKENS = (CALL_START, CALL_END)

TEMPLATE = """\
{%- set ns = namespace(system='', start=0) -%}
{%- if messages and messages[0].role == 'system' -%}
{%- set ns.system = messages[0].content -%}{%- set ns.start = 1 -%}
{%- endif -%}
{%- if ns.system or tools -%}
{{- '<|im_start|>system\\n' + ns.system -}}
{%- if tools -%}
{{- ('\\n' if ns.system else '') + 'Tools:' -}}
{%- for tool in tools -%}
{%- set f = tool.function if tool.function is defined else tool -%}
{%- set description = (f.description if f.description else '').split('\\n')[0] -%}
{{- '\\n- ' + description + (' ' if description else '') + '#' + f.name + '(' -}}
{%- set schema = f.parameters if f.parameters else {} -%}
{%- set required = schema.required if schema.required is defined else [] -%}
{%- for name, parameter in (schema.properties if schema.properties is defined else {}).items() -%}
{{- (', ' if not loop.first else '') + name + ('' if name in required else '?') + ': ' -}}
{{- parameter.type if parameter.type is string else 'string' -}}
{%- endfor -%}
{{- ')' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages[ns.start:] -%}
{{- '<|im_start|>' + message.role + '\\n' + (message.content if message.content is string else '') -}}
{%- for call in (message.tool_calls if message.tool_calls else []) -%}
{%- set f = call.function if call.function is defined else call -%}
{{- '<tool_call>{"name": "' + f.name + '", "arguments": ' -}}
{{- f.arguments if f.arguments is string else f.arguments | tojson -}}
{{- '}</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# How a tool may word that it succeeded; the node's own words come first and most often.
ACKNOWLEDGEMENTS = {
    "saved": ("saved", "saved", "saved", "saved", "ok", "done", "remembered", "Fact stored."),
    "ok": ("ok", "ok", "ok", "ok", "done", "written", "success", "File saved.", "true"),
}


def tool_line(tool: ToolSpec) -> str:
    """A tool as one line of the system turn."""
    parameters = ", ".join(f"{one.name}{'' if one.required else '?'}: {one.kind}" for one in tool.parameters)
    return f"- {tool.description} #{tool.name}({parameters})" if tool.description else f"- #{tool.name}({parameters})"


def turn(role: str, text: str) -> str:
    """One turn of the chat."""
    return f"{TURN_START}{role}\n{text}{TURN_END}\n"


def prompt(system: str, tools: tuple[ToolSpec, ...], task: str) -> str:
    """The system turn (if there is anything to say) and the user's."""
    lines = [system] if system else []
    if tools:
        lines += ["Tools:", *(tool_line(tool) for tool in tools)]
    return (turn("system", "\n".join(lines)) if lines else "") + turn("user", task)


def call_text(name: str, arguments: dict[str, str | int | float]) -> str:
    """A tool call as the assistant writes it."""
    return f"{CALL_START}{json.dumps({'name': name, 'arguments': arguments})}{CALL_END}"


def _solution(task: Task, rng: random.Random | None) -> str:
    text = ""
    for call in task.calls:
        result = call.result
        if rng is not None and result in ACKNOWLEDGEMENTS:
            result = rng.choice(ACKNOWLEDGEMENTS[result])
        text += turn("assistant", call.thought + call_text(call.tool, call.arguments)) + turn("tool", result)
    return text + turn("assistant", task.answer)


def trace(task: Task, rng: random.Random | None = None) -> str:
    """The whole chat of a task's reference solution; `rng` varies how tools acknowledge."""
    return prompt(task.system, task.tools, task.input) + _solution(task, rng)


def conversation(tasks: Sequence[Task], rng: random.Random) -> str:
    """One chat in which several tasks are solved in turn, with the tools of all of them."""
    tools = list({tool.name: tool for task in tasks for tool in task.tools}.values())
    rng.shuffle(tools)
    first, *others = tasks
    text = prompt(first.system, tuple(tools), first.input) + _solution(first, rng)
    return text + "".join(turn("user", task.input) + _solution(task, rng) for task in others)
