"""A server that speaks HTTP as an endpoint: llama-server's own API, or OpenAI's completions.

llama-server is recognised by its `/props`; its `/completion` takes and returns token ids. Of any other server
`/v1/completions` is used with token ids as prompt; where its stream does not tell the generated ids (vLLM's
`return_token_ids` does), they are made from the text by `tokenize`. Requests run in threads: the standard library's
client reads a stream line by line at less cost than any asyncio client, and the machine belongs to the server.
"""

import http.client
import json
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from scripts.bench.fleet.endpoint import Answer, EndpointError, Request
from scripts.bench.measures import resident_bytes

TIMEOUT_S = 900.0
AT_ONCE = 256

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
Tokenize = Callable[[str], Awaitable[tuple[int, ...]]]


class _Stamps:
    """When the pieces of one answer came."""

    def __init__(self, on_first: Callable[[], None] | None) -> None:
        self.times: list[float] = []
        self._on_first = on_first

    def add(self) -> None:
        if self._on_first and not self.times:
            self._on_first()
        self.times.append(time.perf_counter())


class HttpEndpoint:
    """One server."""

    def __init__(self, url: str, tokenize: Tokenize, *, eog: tuple[int, ...] = (), pid: int = 0) -> None:
        """Makes an endpoint; `connect` must be awaited before the first completion.

        Args:
            url: such as `http://127.0.0.1:8080`.
            tokenize: ids of a text, for servers that do not tell them.
            eog: ids that end a generation, which servers without `ignore_eos` are told to avoid.
            pid: of the server's process; 0 if it is not ours.
        """
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._base = parts.path.rstrip("/").removesuffix("/v1")
        self._tokenize = tokenize
        self._bias = {str(token): -100 for token in eog}
        self._pid = pid
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._model = ""
        self._native = False

    async def connect(self) -> None:
        """Finds out what speaks there. Raises EndpointError if nothing does."""
        self._native = await self._in_thread(self._get, "/props") is not None
        models = await self._in_thread(self._get, "/v1/models")
        if models is None:
            raise EndpointError(f"no OpenAI API at {self._host}:{self._port}{self._base}/v1")
        self._model = models["data"][0]["id"]

    async def complete(self, request: Request, on_first: Callable[[], None] | None = None) -> Answer:
        """See `Endpoint`."""
        stamps = _Stamps(on_first)
        if self._native:
            return await self._in_thread(self._native_answer, request, stamps)
        answer, text = await self._in_thread(self._openai_answer, request, stamps)
        return answer if answer.tokens else Answer(await self._tokenize(text), answer.stamps, answer.cached)

    def resident(self) -> int:
        """See `Endpoint`."""
        return resident_bytes(self._pid) if self._pid else 0

    async def _in_thread(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)

    def _native_answer(self, request: Request, stamps: "_Stamps") -> Answer:
        """Through llama-server's `/completion`."""
        body = {
            "prompt": request.tokens,
            "n_predict": request.max_tokens,
            "temperature": 0,
            "stream": True,
            "cache_prompt": True,
            "return_tokens": True,
            "ignore_eos": request.schema is None,
        }
        if request.schema is not None:
            body["json_schema"] = request.schema
        tokens, cached = list[int](), 0
        for chunk in self._stream("/completion", body):
            if new := chunk.get("tokens"):
                tokens += new
                stamps.add()
            if "timings" in chunk:
                cached = chunk["timings"].get("cache_n", 0)
        return Answer(tuple(tokens), tuple(stamps.times), cached)

    def _openai_answer(self, request: Request, stamps: "_Stamps") -> tuple[Answer, str]:
        """Through `/v1/completions`; the answer, without ids if the server does not tell them, and its text."""
        body = {
            "model": self._model,
            "prompt": request.tokens,
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        if request.schema is not None:
            body["structured_outputs"] = {"json": request.schema}
        else:
            body |= {"ignore_eos": True, "logit_bias": self._bias}
        tokens, text, cached = list[int](), "", 0
        for chunk in self._stream("/v1/completions", body):
            for choice in chunk.get("choices", ()):
                tokens += choice.get("token_ids") or ()
                text += choice.get("text") or ""
                if choice.get("text") or choice.get("token_ids"):
                    stamps.add()
            details = (chunk.get("usage") or {}).get("prompt_tokens_details") or {}
            cached = details.get("cached_tokens") or cached
        return Answer(tuple(tokens), tuple(stamps.times), cached), text

    def _get(self, path: str) -> Any:
        """The JSON of a page; None if the server has no such page, or is not ready for it."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", self._base + path)
            response = connection.getresponse()
            content = response.read()
            return json.loads(content or "{}") if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndpointError(f"{self._host}:{self._port}: {error}") from error
        finally:
            connection.close()

    def _stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a server-sent stream. Raises EndpointError with what the server said."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", self._base + path, json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise EndpointError(f"status {response.status}: {response.read(2000).decode(errors='replace')}")
            for line in response:
                kind, _, data = line.decode().strip().partition(": ")
                if kind == "error":
                    raise EndpointError(data)
                if kind == "data" and data != "[DONE]":
                    chunk: dict[str, Any] = json.loads(data)
                    if "error" in chunk:
                        raise EndpointError(str(chunk["error"]))
                    yield chunk
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndpointError(f"{self._host}:{self._port}: {error}") from error
        finally:
            connection.close()
