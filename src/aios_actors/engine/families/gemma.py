"""Tool calls as `<|tool_call>call:NAME{key:value}<tool_call|>`: Gemma 4.

The arguments are JSON with bare keys and with `<|"|>` around strings. They are parsed by translation to JSON; calls
can be constrained to the given tools' names and to the form of this notation, not to each argument's schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from aios_actors.engine.families.base import Family, Literal, Parsed, make_call, quoted
from aios_actors.engine.messages import ToolSchema

_OPEN, _CLOSE, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_CALL = re.compile(rf"{re.escape(_OPEN)}call:([^{{]+)(\{{.*?\}}){re.escape(_CLOSE)}", re.DOTALL)
_BARE_KEY = re.compile(r"([{,]\s*)([\w.\-]+)\s*:")


class Gemma(Family):
    """One block a call."""

    name = "gemma"
    openers = (_OPEN,)
    reasoning = ("<|channel>thought\n", "<channel|>")
    others = (_CLOSE, _QUOTE, "<|channel>")

    @classmethod
    def recognises(cls, template: str) -> bool:
        return _OPEN in template

    def parse(self, source: str, seed: str) -> Parsed | None:
        calls = []
        for index, (name, arguments) in enumerate(_CALL.findall(source)):
            call = make_call(name.strip(), to_json(arguments), seed, index)
            if call is None:
                return None
            calls.append(call)
        return Parsed(tuple(calls)) if calls else None

    def call_rules(self, tools: Sequence[ToolSchema], literal: Literal) -> str:
        names = " | ".join(quoted(tool.name) for tool in tools)
        quote = literal(_QUOTE)
        return f"""call: {literal(_OPEN)} "call:" ({names}) object {literal(_CLOSE)}
object: "{{" (pair ("," pair)*)? "}}"
pair: KEY ":" value
value: {quote} STRING? {quote} | NUMBER | "true" | "false" | "null" | object | "[" (value ("," value)*)? "]"
KEY: /[A-Za-z_][A-Za-z0-9_.\\-]*/
STRING: /(?s:.+)/
NUMBER: /-?(0|[1-9][0-9]*)(\\.[0-9]+)?/"""


def to_json(notation: str) -> str:
    """Gemma's notation as JSON text; strings may contain anything but their quotes."""
    parts = notation.split(_QUOTE)
    for i, part in enumerate(parts):
        parts[i] = json.dumps(part, ensure_ascii=False) if i % 2 else _BARE_KEY.sub(r'\1"\2":', part)
    return "".join(parts)
