"""Tool calls as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen 2.5 and 3, and nano."""

from __future__ import annotations

from collections.abc import Sequence

from aios_actors.engine.families.base import Family, Literal, Parsed, calls_from_objects, decode_objects, json_rules
from aios_actors.engine.messages import ToolSchema

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


class Hermes(Family):
    """JSON between two markers; several calls are several such blocks."""

    name = "hermes"
    openers = (_OPEN,)
    others = (_CLOSE,)

    @classmethod
    def recognises(cls, template: str) -> bool:
        return _OPEN in template

    def parse(self, source: str, seed: str) -> Parsed | None:
        objects, texts = [], []
        _, opener, source = source.partition(_OPEN)
        while opener:
            # Decoded before the closing marker is looked for, which an argument may hold as text.
            decoded = decode_objects(source, "")
            if decoded is None:
                return None
            objects += decoded[0]
            rest = decoded[1].strip()
            if rest and not rest.startswith(_CLOSE):
                return None
            text, opener, source = rest.removeprefix(_CLOSE).partition(_OPEN)
            texts.append(text)
        calls = calls_from_objects(objects, seed)
        return None if calls is None else Parsed(calls, "".join(texts).strip())

    def call_rules(self, tools: Sequence[ToolSchema], literal: Literal) -> str:
        # Qwen's templates put the object on a line of its own, others do not: as the template shows, so the model does.
        gap = ' "\\n" ' if f"{_OPEN}\\n" in self.template or f"{_OPEN}\n" in self.template else " "
        return f"call: {literal(_OPEN)}{gap}body{gap}{literal(_CLOSE)}\n{json_rules(tools)}"
