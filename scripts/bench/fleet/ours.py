"""Our engine as an endpoint: one worker process, spoken to in its own protocol over its socket."""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aios_actors.engine.messages import JsonSchema, Prompt, Sampling, TextPrompt, TokenPrompt
from aios_actors.engine.protocol import (
    Cancel,
    EngineStats,
    Event,
    Ping,
    Pong,
    Ready,
    Result,
    Start,
    StartFailed,
    Step,
    Submit,
    Tokenize,
    Tokenized,
    TokenLogprob,
)
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.kernel.llm_core.process import WorkerProcess, open_worker
from scripts.bench.fleet.endpoint import Answer, EndpointError, Request
from scripts.bench.measures import resident_bytes


@dataclass
class _Live:
    done: "asyncio.Future[Event]"
    on_first: Callable[[], None] | None
    stamps: list[float] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)


class Ran(NamedTuple):
    """How a request ended.

    Attributes:
        finish: why.
        result: what it came to.
        stamps: when tokens of it came.
        logprobs: of each token, if the request asked for them.
    """

    finish: str
    result: Result
    stamps: tuple[float, ...]
    logprobs: tuple[TokenLogprob, ...]


class WorkerEndpoint:
    """A worker that serves.

    Attributes:
        info: the model and the settings that the engine chose.
        process: the worker's process.
    """

    def __init__(self, process: WorkerProcess, info: ModelInfo) -> None:
        self.process = process
        self.info = info
        self._live: dict[int, _Live] = {}
        self._ids = itertools.count(1)
        self._pong: asyncio.Future[EngineStats] | None = None
        self._tokenized: dict[int, asyncio.Future[tuple[int, ...]]] = {}

    async def complete(self, request: Request, on_first: Callable[[], None] | None = None) -> Answer:
        """See `Endpoint`."""
        constraint = JsonSchema(dict(request.schema)) if request.schema is not None else None
        sampling = Sampling(max_tokens=request.max_tokens, ignore_eos=constraint is None and not request.may_end)
        submit = Submit(
            next(self._ids),
            TokenPrompt(request.tokens),
            sampling,
            constraint,
            conversation=request.agent,
            report_s=request.report_s,
        )
        ran = await self.submit(submit, on_first)
        return Answer(ran.result.tokens, ran.stamps, ran.result.tokens_cached, ran.result.tokens_forced)

    async def submit(self, submit: Submit, on_first: Callable[[], None] | None = None) -> Ran:
        """Runs a request of the protocol. Raises EndpointError if it fails, or the worker dies."""
        live = self._live[submit.id] = _Live(asyncio.get_running_loop().create_future(), on_first)
        self.process.send(submit)
        try:
            event = await live.done
        except asyncio.CancelledError:
            self.process.send(Cancel(submit.id))
            raise
        finally:
            del self._live[submit.id]
        result = event.result
        if result is None or result.error is not None:
            raise EndpointError(result.error.message if result and result.error else f"ended as {event.finish}")
        return Ran(event.finish, result, tuple(live.stamps), tuple(live.logprobs))

    async def stats(self) -> EngineStats:
        """The engine's counters."""
        self._pong = asyncio.get_running_loop().create_future()
        self.process.send(Ping(0))
        return await self._pong

    async def tokenize(self, prompt: Prompt | str) -> tuple[int, ...]:
        """The ids of a prompt, or of a text."""
        frame = Tokenize(next(self._ids), TextPrompt(prompt) if isinstance(prompt, str) else prompt)
        answer: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._tokenized[frame.id] = answer
        self.process.send(frame)
        return await answer

    def resident(self) -> int:
        """See `Endpoint`."""
        return resident_bytes(self.process.pid)

    async def listen(self) -> None:
        """Brings the worker's frames to whom they are for; if it ends, so does every request."""
        async for frame in self.process.frames():
            match frame:
                case Step(events):
                    self._take(events, time.perf_counter())
                case Pong(_, stats) if self._pong is not None and not self._pong.done():
                    self._pong.set_result(stats)
                case Tokenized(number, tokens):
                    self._tokenized.pop(number).set_result(tokens)
        why = await self.process.exit_status()
        for live in self._live.values():
            if not live.done.done():
                live.done.set_exception(EndpointError(f"the worker {why}"))

    def _take(self, events: tuple[Event, ...], now: float) -> None:
        for event in events:
            live = self._live.get(event.id)
            if live is None:
                continue
            if event.tokens:
                if live.on_first and not live.stamps:
                    live.on_first()
                live.stamps.append(now)
                live.logprobs += event.logprobs
            if event.finish and not live.done.done():
                live.done.set_result(event)


@contextlib.asynccontextmanager
async def running_worker(spec: WorkerSpec) -> AsyncIterator[WorkerEndpoint]:
    """Starts a worker and waits until it serves. Raises EndpointError if it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_worker(Path(folder), "bench", ("--log-level", "error")) as process:
            process.send(Start(spec))
            endpoint = WorkerEndpoint(process, await _ready(process))
            listening = asyncio.create_task(endpoint.listen())
            try:
                yield endpoint
            finally:
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening


async def _ready(process: WorkerProcess) -> ModelInfo:
    async for frame in process.frames():
        match frame:
            case Ready(info):
                return info
            case StartFailed(code, message):
                raise EndpointError(f"the worker cannot start ({code}): {message}")
    raise EndpointError(f"the worker {await process.exit_status()}")
