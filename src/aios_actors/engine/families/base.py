"""What differs between model families: how tool calls and reasoning look in the model's raw output.

Contract: a `Family` is stateless. It names the markers at which calls and reasoning begin, parses a finished call, and
gives the grammar that lets the model write nothing but calls of given tools. Families are found by their chat template.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from aios_actors.engine.messages import ToolCall, ToolSchema

_CONTROL = re.compile("[\x7f-\x9f]")

Literal = Callable[[str], str]
"""Turns a marker into a Lark term: a token of the vocabulary if there is one, else a quoted string."""


class Parsed(Struct, frozen=True):
    """Calls found in raw output, and what text was left around them."""

    calls: tuple[ToolCall, ...]
    text: str = ""


class Family:
    """One way of writing tool calls. Subclasses set the markers and implement `parse` and `call_rules`.

    `openers` begin a call; `bare_opener` does so only as the first thing of an answer. `reasoning` are the markers
    around what the model thinks. `others` are further markers that `parse` needs to see. `dropped` are headers between
    the parts of an answer that nobody should see.
    """

    name: ClassVar[str]
    openers: ClassVar[tuple[str, ...]] = ()
    bare_opener: ClassVar[str] = ""
    reasoning: ClassVar[tuple[str, str]] = ("<think>", "</think>")
    others: ClassVar[tuple[str, ...]] = ()
    dropped: ClassVar[tuple[str, ...]] = ()

    def __init__(self, template: str) -> None:
        self.template = template

    @classmethod
    def recognises(cls, template: str) -> bool:
        """Whether `template` belongs to this family."""
        raise NotImplementedError

    @property
    def markers(self) -> tuple[str, ...]:
        """Every string that means something; control tokens of these names are not hidden from the parser."""
        return (*self.openers, *self.reasoning, *self.others, *self.dropped)

    def parse(self, source: str, seed: str) -> Parsed | None:
        """The calls in `source`, raw output from its first opener on; None if it holds no well-formed call."""
        raise NotImplementedError

    def call_rules(self, tools: Sequence[ToolSchema], literal: Literal) -> str:
        """Lark rules, the first of which is `call`: exactly one call of one of `tools`."""
        raise NotImplementedError


def call_id(seed: str, index: int) -> str:
    """Nine letters and digits (what Mistral's templates demand), the same whenever the same prompt is continued."""
    return hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=5).hexdigest()[:9]


def make_call(name: Any, arguments: Any, seed: str, index: int) -> ToolCall | None:
    """A call if `name` and `arguments` (an object, or JSON text of one) have the right types."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return ToolCall(call_id(seed, index), name, arguments)


def calls_from_objects(objects: Sequence[Any], seed: str) -> tuple[ToolCall, ...] | None:
    """Calls from decoded objects with a name and `arguments` or `parameters`; None if one of them is no call."""
    calls = []
    for index, item in enumerate(objects):
        if not isinstance(item, dict):
            return None
        call = make_call(item.get("name"), item.get("arguments", item.get("parameters", {})), seed, index)
        if call is None:
            return None
        calls.append(call)
    return tuple(calls) or None


def decode_objects(source: str, separators: str) -> tuple[list[Any], str] | None:
    """JSON values with any of `separators` between them, and what follows; None if there is none."""
    decoder = json.JSONDecoder()
    objects: list[Any] = []
    position = 0
    while True:
        while position < len(source) and (source[position].isspace() or source[position] in separators):
            position += 1
        try:
            value, position = decoder.raw_decode(source, position)
        except ValueError:
            return (objects, source[position:]) if objects else None
        objects.append(value)


def json_rules(tools: Sequence[ToolSchema], arguments_key: str = "arguments") -> str:
    """Rules `body`, `tool_N` and `args_N`: the object `{"name": NAME, "arguments": {...}}` of one of `tools`.

    Each argument object is a JSON document of its own, so that `$ref` and `$defs` of its schema keep their meaning.
    Separators are those of Python's json.dumps, which chat templates show; fixed ones leave more tokens forced.
    """
    rules = ["body: " + " | ".join(f"tool_{i}" for i in range(len(tools)))]
    for i, tool in enumerate(tools):
        name = json.dumps(tool.name, ensure_ascii=False)
        head = quoted(f'{{"name": {name}, "{arguments_key}": ')
        rules += [f'tool_{i}: {head} args_{i} "}}"', f"args_{i}: %json {arguments_schema(tool)}"]
    return "\n".join(rules)


def quoted(text: str) -> str:
    """`text` as a Lark string literal: JSON's escapes, and for control characters beyond ASCII's first 32 as well."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def arguments_schema(tool: ToolSchema) -> str:
    """The JSON Schema of a tool's arguments as text, closed against invented arguments unless it says otherwise."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False} | tool.parameters
    style = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return json.dumps(schema | {"x-guidance": style}, ensure_ascii=False)
