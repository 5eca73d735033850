"""Tool calls as `[TOOL_CALLS][{"name": ..., "arguments": {...}}]` or `[TOOL_CALLS]name[ARGS]{...}`: Mistral."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aios_actors.engine.families.base import (
    Family,
    Literal,
    Parsed,
    arguments_schema,
    calls_from_objects,
    decode_objects,
    json_rules,
    make_call,
    quoted,
)
from aios_actors.engine.messages import ToolSchema

_OPEN, _ARGS = "[TOOL_CALLS]", "[ARGS]"
_NAMED = re.compile(r"\[TOOL_CALLS\]\s*([\w.\-]+?)\s*(?:\[CALL_ID\]\w*)?\s*\[ARGS\]")


class Mistral(Family):
    """A list of calls after one marker; newer models write each call's name and arguments between markers."""

    name = "mistral"
    openers = (_OPEN,)
    reasoning = ("[THINK]", "[/THINK]")
    others = (_ARGS, "[CALL_ID]")

    @classmethod
    def recognises(cls, template: str) -> bool:
        return _OPEN in template

    def parse(self, source: str, seed: str) -> Parsed | None:
        if _ARGS in source:
            return self._parse_named(source, seed)
        decoded = decode_objects(source.replace(_OPEN, " "), ",")
        if decoded is None or decoded[1].strip():
            return None
        objects = [item for value in decoded[0] for item in (value if isinstance(value, list) else [value])]
        calls = calls_from_objects(objects, seed)
        return None if calls is None else Parsed(calls)

    def _parse_named(self, source: str, seed: str) -> Parsed | None:
        calls = []
        for index, match in enumerate(_NAMED.finditer(source)):
            decoded = decode_objects(source[match.end() :].split(_OPEN)[0], "")
            call = make_call(match[1], decoded[0][0], seed, index) if decoded else None
            if call is None:
                return None
            calls.append(call)
        return Parsed(tuple(calls)) if calls else None

    def call_rules(self, tools: Sequence[ToolSchema], literal: Literal) -> str:
        if _ARGS not in self.template:
            return f'call: {literal(_OPEN)} "[" body "]"\n{json_rules(tools)}'
        names = " | ".join(f"tool_{i}" for i in range(len(tools)))
        rules = [f"call: {literal(_OPEN)} ({names})"]
        for i, tool in enumerate(tools):
            rules += [
                f"tool_{i}: {quoted(tool.name)} {literal(_ARGS)} args_{i}",
                f"args_{i}: %json {arguments_schema(tool)}",
            ]
        return "\n".join(rules)
