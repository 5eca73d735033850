"""Conversations to prompts, by the chat template in the model's metadata.

Contract: `ChatTemplate.render` gives the prompt text or raises `TemplateError` with the template's own words. Templates
come with model files and are not trusted: they run in jinja2's sandbox. Names of control tokens inside
messages stay text: a message cannot forge the turn of another role (`tokenize_chat`).
"""

from __future__ import annotations

import copy
import datetime
import json
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from aios_actors.engine.adapt import fold_system, spell_out_tools
from aios_actors.engine.families import Family, Hermes, family_of
from aios_actors.engine.messages import ChatMessage, ChatPrompt, ToolCall, ToolSchema
from aios_actors.engine.vocab import Vocab

# Stands in the rendered text where a message named a control token: private-use characters around its number.
_SHIELD = "\ue0f0{}\ue0f1"
_SHIELDED = re.compile("\ue0f0([0-9]+)\ue0f1")
_FALLBACK = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


class TemplateError(Exception):
    """Raised when a template refuses a conversation or fails over it."""


class ChatTemplate:
    """A compiled chat template of one model."""

    def __init__(self, source: str | None, vocab: Vocab) -> None:
        self._vocab = vocab
        self._names = sorted(vocab.control_names, key=len, reverse=True)
        self._forgeries = re.compile("|".join(map(re.escape, self._names))) if self._names else None
        # Templates may append to lists; all they get is made for this one rendering, so that nothing else changes.
        environment = jinja2.sandbox.SandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationTag]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        try:
            self._template = environment.from_string(source or _FALLBACK)
            variables = jinja2.meta.find_undeclared_variables(environment.parse(source or _FALLBACK))
        except jinja2.TemplateError as error:
            raise TemplateError(f"the model's chat template does not compile: {error}") from error
        self._knows_tools = "tools" in variables
        self.family: Family = family_of(source or "") if self._knows_tools else Hermes("")

    def tokenize(self, prompt: ChatPrompt) -> list[int]:
        """The conversation as token ids, up to where the model speaks. Raises `TemplateError`."""
        text = self.render(prompt)
        bos = self._vocab.detokenize([self._vocab.bos]) if self._vocab.bos is not None else ""
        wants_bos = self._vocab.adds_bos and not (bos and text.startswith(bos))
        tokens: list[int] = []
        parts = _SHIELDED.split(text)
        for i, part in enumerate(parts):
            if i % 2:
                tokens += self._vocab.tokenize(self._names[int(part)])
            elif part or i == 0:
                tokens += self._vocab.tokenize(part, special=True, add_bos=wants_bos and i == 0)
        return tokens

    def render(self, prompt: ChatPrompt) -> str:
        """The conversation as the template writes it, names of control tokens in messages shielded.

        What a template refuses or does not know is told differently: arguments as text instead of an object, the
        system text in the user's turn, tools in words. Raises `TemplateError` with the first refusal if none helps.
        """
        messages, tools = prompt.messages, prompt.tools
        if not self._knows_tools:
            messages, tools = spell_out_tools(messages, tools), ()
        folded = fold_system(messages) if any(m.role == "system" for m in messages) else messages
        refusals = []
        for variant, as_text in ((messages, False), (messages, True), (folded, False), (folded, True)):
            try:
                return self._render([self._message(m, as_text) for m in variant], tools)
            except TemplateError as error:
                refusals.append(error)
        raise refusals[0]

    def _render(self, messages: list[dict[str, Any]], tools: Sequence[ToolSchema]) -> str:
        bos, eos = self._vocab.bos, self._vocab.eos
        try:
            return self._template.render(
                messages=messages,
                tools=[_tool(t) for t in tools] or None,
                add_generation_prompt=True,
                bos_token=self._vocab.detokenize([bos]) if bos is not None else "",
                eos_token=self._vocab.detokenize([eos]) if eos is not None else "",
            )
        except TemplateError:
            raise
        except Exception as error:  # a template is a program from a model file: it may fail in any way
            raise TemplateError(f"the chat template refuses this conversation: {error}") from error

    def _message(self, message: ChatMessage, arguments_as_text: bool) -> dict[str, Any]:
        rendered: dict[str, Any] = {"role": message.role, "content": self._shield(message.content)}
        if message.reasoning:
            rendered["reasoning_content"] = self._shield(message.reasoning)
        if message.tool_calls:
            rendered["tool_calls"] = [_call(call, arguments_as_text) for call in message.tool_calls]
        if message.tool_call_id is not None:
            rendered["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            rendered["name"] = message.name
        return rendered

    def _shield(self, text: str) -> str:
        if self._forgeries is None:
            return text
        clean = text.replace("\ue0f0", "").replace("\ue0f1", "")
        return self._forgeries.sub(lambda match: _SHIELD.format(self._names.index(match[0])), clean)


def _tool(tool: ToolSchema) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": copy.deepcopy(tool.parameters)}
    return {"type": "function", "function": function}


def _call(call: ToolCall, arguments_as_text: bool) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False) if arguments_as_text else copy.deepcopy(call.arguments)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`: Hugging Face's mark around what a model writes; for rendering it has no meaning."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None, separators: Sequence[str] | None = None, **_: Any) -> str:
    """As Hugging Face's templates expect it: plain characters, no HTML escapes."""
    pair = (separators[0], separators[1]) if separators else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=pair)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.datetime.now().astimezone().strftime(layout)
