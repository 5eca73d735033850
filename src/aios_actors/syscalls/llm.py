"""Syscalls of the LLM: one chat completion, with tools, constraints and streaming; texts as vectors."""

import operator
from collections.abc import Callable
from typing import ClassVar

import msgspec
from msgspec.structs import astuple

from aios_actors.engine.messages import ChatMessage, Constraint, Sampling, ToolCall, ToolSchema
from aios_actors.syscalls.base import Syscall


class Usage(msgspec.Struct, frozen=True):
    """What a call cost.

    Attributes:
        tokens_in: tokens of the prompt.
        tokens_cached: those of them whose KV was at hand.
        tokens_out: tokens generated.
        waiting_s: seconds from the call's arrival to its first step on a worker, and between its slices.
        turnaround_s: seconds from the call's arrival to its reply.
        preemptions: how often it was taken off a worker for another call.
        restarts: how often it was started anew because its worker died.
        prefill_s: seconds on workers up to the first new token.
        decode_s: seconds on workers after that.
        tokens_computed: tokens that went through the model, whatever was computed again included.
        tokens_forced: tokens generated that a constraint left no choice about.
        tokens_drafted: tokens computed on speculation.
        tokens_accepted: those of them that were right.
        pages_in, pages_out: KV pages that were moved for it.
    """

    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    waiting_s: float = 0.0
    turnaround_s: float = 0.0
    preemptions: int = 0
    restarts: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    tokens_computed: int = 0
    tokens_forced: int = 0
    tokens_drafted: int = 0
    tokens_accepted: int = 0
    pages_in: int = 0
    pages_out: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """The sum, field by field."""
        return Usage(*map(operator.add, astuple(self), astuple(other)))


class ChatReply(msgspec.Struct, frozen=True):
    """A finished generation.

    Attributes:
        text: the text, without tool calls and stop strings.
        tool_calls: calls that the model wants made.
        finish: "stop", "length" or "tool_calls".
        usage: what it cost.
        dropped: messages of the conversation that the model did not see, because they no longer fit its window.
        summary: what it saw in their place; "" for an agent whose conversations slide.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish: str
    usage: Usage
    dropped: int = 0
    summary: str = ""


class Chat(Syscall[ChatReply], frozen=True):
    """Complete a conversation.

    Attributes:
        messages: the conversation so far.
        tools: tools that the model may call.
        model: a model of the config; "" for the caller's own.
        sampling: temperature and its like.
        constraint: a form that the text must have.
        conversation: name of the caller's context that this call goes on with; its KV is looked up by it.
        adapters: LoRA adapters of the model to compute with, each with its scale.
        reserve: tokens, up to a quarter of the window, that must be left to generate; or the call is a ContextOverflow.
        number: set by the journal: which of its task's syscalls this is, from 1 on.
        on_text: called on the node's event loop with each new piece of text.

    Errors: ModelUnavailable, GenerationFailed, ContextOverflow, NotFound (no such model).
    """

    verb: ClassVar[str] = "llm.chat"
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSchema, ...] = ()
    model: str = ""
    sampling: Sampling = Sampling()
    constraint: Constraint | None = None
    conversation: str = "main"
    adapters: dict[str, float] = msgspec.field(default_factory=dict)
    reserve: int = 1
    number: int = 0
    on_text: Callable[[str], None] | None = None

    def resource(self) -> str:
        return self.model


class Embeddings(msgspec.Struct, frozen=True):
    """Texts as vectors.

    Attributes:
        vectors: one for each text, in order; each has Euclidean length 1.
        tokens: how many tokens the texts had.
    """

    vectors: tuple[tuple[float, ...], ...]
    tokens: int


class Embed(Syscall[Embeddings], frozen=True):
    """Turn texts into vectors, of which similar texts have similar ones.

    Attributes:
        texts: what to embed.
        model: a model of the config; "" for the caller's own.

    Errors: EmbeddingFailed, ModelUnavailable, NotFound (no such model).
    """

    verb: ClassVar[str] = "llm.embed"
    texts: tuple[str, ...]
    model: str = ""

    def resource(self) -> str:
        return self.model
