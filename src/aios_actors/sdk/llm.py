"""`self.llm`: chat, questions with typed answers, streams."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

import anyio
import msgspec

from aios_actors.actors import Refusal
from aios_actors.engine.messages import ChatMessage, Choice, Constraint, JsonSchema, Sampling, ToolCalls, ToolSchema
from aios_actors.sdk.kernel import Kernel
from aios_actors.sdk.window import Overflow, Windows
from aios_actors.syscalls.errors import GenerationFailed
from aios_actors.syscalls.llm import Chat, ChatReply, Embed

T = TypeVar("T")


class LlmClient:
    """The LLM as an agent sees it."""

    def __init__(
        self,
        kernel: Kernel,
        model: str,
        sampling: Sampling,
        system_prompt: str,
        adapters: Mapping[str, float] | None = None,
        overflow: Overflow = "error",
    ) -> None:
        self._kernel = kernel
        self._model = model
        self._sampling = sampling
        self._adapters = dict(adapters or {})
        self.system_prompt = system_prompt
        self._windows = None if overflow == "error" else Windows(kernel, overflow)

    def opening(self, task: str) -> list[ChatMessage]:
        """The first messages of a conversation about `task`: the system prompt, if there is one, and the task."""
        system = [ChatMessage("system", self.system_prompt)] if self.system_prompt else []
        return [*system, ChatMessage("user", task)]

    async def chat(
        self,
        messages: Sequence[ChatMessage] | str,
        *,
        tools: Sequence[ToolSchema] = (),
        constraint: Constraint | None = None,
        conversation: str = "main",
        model: str = "",
        adapters: Mapping[str, float] | None = None,
        **sampling: Any,
    ) -> ChatReply:
        """Completes a conversation.

        Args:
            messages: the conversation; a string is a task, and gets the agent's system prompt before it. None at all
                go on with the tokens of `conversation`, for instance those of a restored snapshot.
            tools: tools that the model may call.
            constraint: a form that the text must have. With tools and none given, the model can write text or a call
                that fits a tool's schema, and nothing else.
            conversation: name of the context whose KV this call can go on from.
            model: a model of the config, if not the agent's.
            adapters: LoRA adapters of the model with their scales, if not those of the agent.
            sampling: fields of `Sampling` that differ from the agent's, such as `temperature=0.7`.

        Raises:
            ModelUnavailable, GenerationFailed, ContextOverflow, NotFound, Busy: see `aios_actors.syscalls.errors`.
        """
        call = self._call(messages, tools, constraint, conversation, model, adapters, sampling)
        return await self._complete(call)

    @overload
    async def ask(self, question: str) -> str: ...
    @overload
    async def ask(self, question: str, *, returns: type[T], **sampling: Any) -> T: ...

    async def ask(self, question: str, *, returns: type[Any] = str, **sampling: Any) -> Any:
        """Asks one question, without tools.

        Args:
            question: the question.
            returns: type of the answer: `str`, or any type that msgspec can decode from JSON (a Struct, `list[int]`);
                the model can then write nothing else.
            sampling: see `chat`.

        Raises:
            GenerationFailed: the answer did not end within `max_tokens`; and the errors of `chat`.
        """
        if returns is str:
            return (await self.chat(question, **sampling)).text
        constraint = JsonSchema(msgspec.json.schema(returns))
        reply = await self.chat(question, constraint=constraint, **sampling)
        try:
            return msgspec.json.decode(reply.text, type=returns)
        except msgspec.MsgspecError as error:
            raise GenerationFailed(
                f"the answer is no {returns.__name__} ({reply.finish} after {reply.usage.tokens_out} tokens): {error}"
            ) from error

    async def choose(self, question: str, options: Sequence[str], **sampling: Any) -> str:
        """Asks a question whose answer is one of `options`."""
        return (await self.chat(question, constraint=Choice(tuple(options)), **sampling)).text

    async def embed(self, texts: Sequence[str], *, model: str = "") -> list[tuple[float, ...]]:
        """Turns texts into vectors of length 1; the product of two is the greater, the more their texts are alike.

        Args:
            texts: what to embed; a string is one text.
            model: a model of the config, if not the agent's. It must be one for embeddings.

        Raises:
            EmbeddingFailed, ModelUnavailable, NotFound: see `aios_actors.syscalls.errors`.
        """
        given = (texts,) if isinstance(texts, str) else tuple(texts)
        return list((await self._kernel.ask(Embed(given, model or self._model))).vectors)

    @asynccontextmanager
    async def stream(self, messages: Sequence[ChatMessage] | str, **options: Any) -> AsyncIterator[AsyncIterable[str]]:
        """Like `chat`, but gives the text piece by piece, as the model writes it.

            async with self.llm.stream(task) as pieces:
                async for piece in pieces:
                    ...

        Leaving the block before the end cancels the call. Errors of the call are raised in the block.
        """
        send, receive = anyio.create_memory_object_stream[str](max_buffer_size=math.inf)
        conversation, model = options.pop("conversation", "main"), options.pop("model", "")
        call = self._call(messages, (), None, conversation, model, options.pop("adapters", None), options)
        call = msgspec.structs.replace(call, on_text=send.send_nowait)

        async def ask() -> None:
            with send:
                await self._complete(call)

        asking = asyncio.ensure_future(ask())
        try:
            with receive:
                yield _until_done(receive, asking)
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, Refusal):
                await asking

    async def _complete(self, call: Chat) -> ChatReply:
        """Asks the kernel; a conversation that no longer fits the window is cut as the agent's config says."""
        if self._windows is None or not call.messages:
            return await self._kernel.ask(call)
        return await self._windows.complete(call)

    def _call(
        self,
        messages: Sequence[ChatMessage] | str,
        tools: Sequence[ToolSchema],
        constraint: Constraint | None,
        conversation: str,
        model: str,
        adapters: Mapping[str, float] | None,
        sampling: dict[str, Any],
    ) -> Chat:
        if isinstance(messages, str):
            messages = self.opening(messages)
        return Chat(
            messages=tuple(messages),
            tools=tuple(tools),
            model=model or self._model,
            sampling=msgspec.structs.replace(self._sampling, **sampling) if sampling else self._sampling,
            constraint=constraint or (ToolCalls() if tools else None),
            conversation=conversation,
            adapters=dict(adapters) if adapters is not None else self._adapters if model in ("", self._model) else {},
        )


async def _until_done(pieces: AsyncIterable[str], asking: "asyncio.Future[None]") -> AsyncIterator[str]:
    """The pieces, and then the error in which the call ended, if it did."""
    async for piece in pieces:
        yield piece
    await asking
