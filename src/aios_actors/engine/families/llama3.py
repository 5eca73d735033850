"""Tool calls as bare JSON, `{"name": ..., "parameters": {...}}`, with or without `<|python_tag|>`: Llama 3.1 to 3.3."""

from __future__ import annotations

from collections.abc import Sequence

from aios_actors.engine.families.base import Family, Literal, Parsed, calls_from_objects, decode_objects, json_rules
from aios_actors.engine.messages import ToolSchema

_TAG = "<|python_tag|>"


class Llama3(Family):
    """The whole answer is one JSON object; several are separated by semicolons."""

    name = "llama3"
    openers = (_TAG,)
    bare_opener = '{"name"'
    others = ("<|eom_id|>",)

    @classmethod
    def recognises(cls, template: str) -> bool:
        return "<|start_header_id|>" in template

    def parse(self, source: str, seed: str) -> Parsed | None:
        decoded = decode_objects(source.replace(_TAG, "").replace("<|eom_id|>", ""), ";")
        if decoded is None or decoded[1].strip():
            return None
        calls = calls_from_objects(decoded[0], seed)
        return None if calls is None else Parsed(calls)

    def call_rules(self, tools: Sequence[ToolSchema], literal: Literal) -> str:
        return f"call: body\n{json_rules(tools, 'parameters')}"
