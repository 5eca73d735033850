"""Channels of the harmony format: gpt-oss.

An answer is a row of messages: `<|channel|>analysis<|message|>...<|end|>` thinks, `<|start|>assistant<|channel|>final
<|message|>...` answers, and ` to=functions.NAME<|channel|>commentary json<|message|>{...}` calls.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aios_actors.engine.families.base import (
    Family,
    Literal,
    Parsed,
    arguments_schema,
    decode_objects,
    make_call,
    quoted,
)
from aios_actors.engine.messages import ToolSchema

_START, _CHANNEL, _MESSAGE = "<|start|>assistant", "<|channel|>", "<|message|>"
_CALL = re.compile(r"to=functions\.([\w.\-]+)[^{]*?<\|message\|>")


class Harmony(Family):
    """The recipient of a call stands before or within its channel's header; both are understood."""

    name = "harmony"
    openers = (
        " to=functions.",
        f"{_START} to=functions.",
        f"{_CHANNEL}commentary to=functions.",
        f"{_START}{_CHANNEL}commentary to=functions.",
    )
    reasoning = (f"{_CHANNEL}analysis{_MESSAGE}", "<|end|>")
    others = ("<|constrain|>", _START.removesuffix("assistant"), _CHANNEL, _MESSAGE)
    dropped = (
        f"{_START}{_CHANNEL}final{_MESSAGE}",
        f"{_CHANNEL}final{_MESSAGE}",
        f"{_START}{_CHANNEL}commentary{_MESSAGE}",
        f"{_CHANNEL}commentary{_MESSAGE}",
    )

    @classmethod
    def recognises(cls, template: str) -> bool:
        return f"{_CHANNEL}analysis{_MESSAGE}" in template

    def parse(self, source: str, seed: str) -> Parsed | None:
        calls = []
        for index, match in enumerate(_CALL.finditer(source)):
            decoded = decode_objects(source[match.end() :], "")
            call = make_call(match[1], decoded[0][0], seed, index) if decoded else None
            if call is None:
                return None
            calls.append(call)
        return Parsed(tuple(calls)) if calls else None

    def call_rules(self, tools: Sequence[ToolSchema], literal: Literal) -> str:
        header = f'{literal(_CHANNEL)} "commentary json" {literal(_MESSAGE)}'
        rules = ["call: " + " | ".join(f"tool_{i}" for i in range(len(tools)))]
        for i, tool in enumerate(tools):
            recipient = quoted(f" to=functions.{tool.name}")
            rules += [f"tool_{i}: {recipient} {header} args_{i}", f"args_{i}: %json {arguments_schema(tool)}"]
        return "\n".join(rules)
