"""What a request to the engine is made of: chat messages, tools, sampling, constraints.

Contract: plain frozen Structs, shared by the node and the worker process. This module imports msgspec only, so that
the node can use it without loading llama.cpp. Everything a generation depends on is in these values and in its prompt
and generated tokens; the engine holds no hidden state that a resumed request would miss.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True, omit_defaults=True):
    """One call of a tool by the model.

    `id` is unique within its conversation. `arguments` is the decoded JSON object.
    """

    id: str
    name: str
    arguments: dict[str, Any] = {}


class ChatMessage(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation.

    `tool_calls` belongs to assistant turns; `tool_call_id` and `name` (the tool's) belong to turns of role `tool`.
    `reasoning` is what a reasoning model thought before its answer; templates decide whether they show it again.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""


class ToolSchema(Struct, frozen=True, omit_defaults=True):
    """A tool as the model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})


class Sampling(Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1 and `min_p` 0 switch these filters off. The random number of the
    n-th generated token depends on (`seed`, n) alone, so a resumed generation draws what it would have drawn.
    Penalties look at the last `penalty_window` tokens of prompt and output; -1 means all of them. `max_tokens` counts
    every generated token, those of earlier slices included. `logprobs` None gives none; n gives the log probability of
    each chosen token and of the n likeliest (0 to 20), before temperature and filters.
    """

    temperature: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.0
    top_k: Annotated[int, Meta(ge=0)] = 0
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    seed: int = 0
    repeat_penalty: Annotated[float, Meta(gt=0.0)] = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_window: Annotated[int, Meta(ge=-1)] = 64
    max_tokens: Annotated[int, Meta(ge=1)] = 512
    stop: tuple[str, ...] = ()
    logit_bias: dict[int, float] = {}
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    ignore_eos: bool = False


class JsonSchema(Struct, frozen=True, tag="json_schema"):
    """The output is one JSON document that satisfies `schema`; `{}` is any JSON."""

    schema: dict[str, Any]


class Regex(Struct, frozen=True, tag="regex"):
    """The whole output matches `pattern` (Rust regex syntax, without look-around)."""

    pattern: str


class Choice(Struct, frozen=True, tag="choice"):
    """The output is exactly one of `options`."""

    options: tuple[str, ...]


class ToolCalls(Struct, frozen=True, tag="tool_calls"):
    """The output calls one of the prompt's tools with arguments that satisfy its schema.

    `auto` allows text or a call, `required` only a call, `none` only text.
    """

    mode: Literal["auto", "required", "none"] = "auto"


Constraint = JsonSchema | Regex | Choice | ToolCalls


class ChatPrompt(Struct, frozen=True, omit_defaults=True, tag="chat"):
    """A conversation, rendered by the model's own chat template; the model speaks next."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSchema, ...] = ()


class TextPrompt(Struct, frozen=True, omit_defaults=True, tag="text"):
    """Raw text to be continued. `special`: names of control tokens in it become those tokens."""

    text: str
    special: bool = False


class TokenPrompt(Struct, frozen=True, omit_defaults=True, tag="tokens"):
    """Token ids to be continued. `tools` are those that the tokens already describe: calls are parsed against them."""

    tokens: tuple[int, ...]
    tools: tuple[ToolSchema, ...] = ()


Prompt = ChatPrompt | TextPrompt | TokenPrompt
