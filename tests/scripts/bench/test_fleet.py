"""The load of fleets, the HTTP side of an endpoint, and what is said about runs."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from aios_actors.engine.protocol import EngineStats
from scripts.bench.fleet.endpoint import Answer, EndpointError, Request
from scripts.bench.fleet.http_endpoint import HttpEndpoint
from scripts.bench.fleet.load import Call, Fleet, FleetRun, Vocabulary, run_fleet
from scripts.bench.fleet.probes import Rates, gaps
from scripts.bench.fleet.rows import comparison_rows, failed, our_rows

VOCABULARY = Vocabulary(1000, eog=(500,))
FLEET = Fleet("X", agents=5, shared=40, turns=3, new=7, out=4, wait_s=(0.0, 0.0))


class IdealCache:
    """Computes each prefix once, and keeps all but the last token of an answer, which no engine has computed."""

    def __init__(self, fail: Callable[[Request], bool] = lambda request: False) -> None:
        self._known: set[tuple[int, ...]] = set()
        self._fail = fail

    async def complete(self, request: Request, on_first: Callable[[], None] | None = None) -> Answer:
        if self._fail(request):
            raise EndpointError("no room")
        tokens = request.tokens
        cached = next((n for n in range(len(tokens), 0, -1) if tokens[:n] in self._known), 0)
        made = VOCABULARY.draw(request.max_tokens, tokens)
        whole = tokens + made[:-1]
        self._known |= {whole[:n] for n in range(1, len(whole) + 1)}
        await asyncio.sleep(0)
        return Answer(made, (1.0,), cached)

    def resident(self) -> int:
        return 1


async def test_what_a_fleet_needs_is_what_an_ideal_cache_computes() -> None:
    run = await run_fleet(IdealCache(), FLEET, VOCABULARY)
    answers = [call.answer for call in run.calls if call.answer]
    assert len(answers) == FLEET.agents * FLEET.turns
    assert sum(call.prompt for call in run.calls) - sum(answer.cached for answer in answers) == FLEET.needed


async def test_every_endpoint_gets_the_same_prompts() -> None:
    first, second = [await run_fleet(IdealCache(), FLEET, VOCABULARY) for _ in range(2)]
    assert sorted(call.prompt for call in first.calls) == sorted(call.prompt for call in second.calls)
    assert VOCABULARY.draw(9, "a", 1) == VOCABULARY.draw(9, "a", 1) != VOCABULARY.draw(9, "a", 2)
    assert 500 not in VOCABULARY.draw(10_000, "end")


def test_the_longest_conversation_fits_a_context() -> None:
    assert FLEET.context >= FLEET.shared + FLEET.turns * (FLEET.new + FLEET.out)


async def test_a_failed_call_ends_its_agent_and_counts_with_all_that_it_did_not_ask() -> None:
    run = await run_fleet(IdealCache(lambda request: request.agent == "X-2"), FLEET, VOCABULARY)
    assert failed(run) == FLEET.turns
    assert [call.error for call in run.calls if call.error] == ["no room"]


def run_of(wall_s: float, failures: int = 0, turnaround: float = 1.0) -> FleetRun:
    calls = [Call(0.0, 10, Answer((1,), (1.0,), 0), done=turnaround) for _ in range(15 - failures)]
    return FleetRun(Fleet("A", agents=5, shared=10, turns=3), calls, wall_s)


def test_the_best_setting_that_fails_nothing_is_what_we_are_compared_with() -> None:
    sides = {"np": run_of(30.0), "default-fa-on": run_of(50.0, turnaround=0.5), "kvu": run_of(1.0, failures=1)}
    best, sooner, default = comparison_rows(run_of(10.0, turnaround=0.25), {"llama-server": sides})
    assert (best.value, best.against, best.ok) == (3.0, "np, its best", True)
    assert (sooner.value, sooner.against) == (2.0, "default-fa-on, its best mean turnaround")
    assert (default.value, default.ok) == (5.0, True)


def test_a_product_that_fails_in_every_setting_is_not_compared() -> None:
    (row,) = comparison_rows(run_of(10.0), {"llama-server": {"np": run_of(1.0, failures=1)}})
    assert row.ok is None
    assert row.value == 0.0


def test_the_share_of_the_limit_counts_needed_prefill_and_decoded_tokens() -> None:
    run = run_of(2.0)
    row = next(row for row in our_rows(run, EngineStats(), Rates(prefill=100.0, decode=10.0)) if "limit" in row.what)
    assert row.value == pytest.approx((run.fleet.needed / 100 + 15 / 10) / 2.0)


def test_agents_that_wait_long_have_no_share_of_the_limit() -> None:
    run = run_of(2.0)
    waiting = FleetRun(replace(run.fleet, wait_s=(1.0, 6.0)), run.calls, run.wall_s)
    assert not any("limit" in row.what for row in our_rows(waiting, EngineStats(), Rates(prefill=100.0, decode=10.0)))


def test_gaps_are_between_neighbouring_tokens_inside_of_the_window() -> None:
    answers = [Answer((1, 2, 3), (1.0, 2.0, 4.0), 0), Answer((1,), (3.0,), 0)]
    assert gaps(answers) == [1.0, 2.0]
    assert gaps(answers, 1.5, 4.0) == [2.0]


@contextlib.asynccontextmanager
async def server(pages: dict[str, Any], chunks: list[str], seen: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A server that knows some pages and answers every POST with the same stream."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        if method == "POST":
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            seen.append({"path": path, **json.loads(await reader.readexactly(length))})
            body = "".join(f"data: {chunk}\n\n" for chunk in chunks)
            status = "200 OK" if chunks else "503 Busy"
        else:
            body, status = json.dumps(pages.get(path, {})), "200 OK" if path in pages else "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


MODELS = {"/v1/models": {"data": [{"id": "m"}]}}


async def tokenize(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


async def test_llama_server_is_spoken_to_in_its_own_api() -> None:
    seen: list[dict[str, Any]] = []
    chunks = ['{"content": "a", "tokens": [7]}', '{"content": "", "tokens": [8, 9], "timings": {"cache_n": 3}}']
    async with server(MODELS | {"/props": {}}, chunks, seen) as url:
        endpoint = HttpEndpoint(url, tokenize)
        await endpoint.connect()
        firsts: list[int] = []
        answer = await endpoint.complete(Request("a", (1, 2, 3, 4), 3), lambda: firsts.append(1))
    assert firsts == [1]
    assert (answer.tokens, answer.cached, len(answer.stamps)) == ((7, 8, 9), 3, 2)
    assert seen[0]["path"] == "/completion"
    assert seen[0]["prompt"] == [1, 2, 3, 4]
    assert seen[0]["ignore_eos"] is True


async def test_text_of_a_server_that_tells_no_ids_is_tokenised() -> None:
    seen: list[dict[str, Any]] = []
    usage = '{"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": 2}}}'
    async with server(MODELS, ['{"choices": [{"text": "hi"}]}', usage, "[DONE]"], seen) as url:
        endpoint = HttpEndpoint(url + "/v1", tokenize, eog=(5,))
        await endpoint.connect()
        answer = await endpoint.complete(Request("a", (1, 2), 3, {"type": "object"}))
        await endpoint.complete(Request("a", (1, 2), 3))
    assert (answer.tokens, answer.cached) == (tuple(b"hi"), 2)
    assert seen[0]["structured_outputs"] == {"json": {"type": "object"}}
    assert seen[1]["logit_bias"] == {"5": -100}


async def test_a_refusal_has_the_servers_words() -> None:
    async with server(MODELS, [], []) as url:
        endpoint = HttpEndpoint(url, tokenize)
        await endpoint.connect()
        with pytest.raises(EndpointError, match="status 503"):
            await endpoint.complete(Request("a", (1,), 1))


async def test_an_error_in_the_stream_is_an_error() -> None:
    async with server(MODELS | {"/props": {}}, ['{"error": {"message": "Context size exceeded"}}'], []) as url:
        endpoint = HttpEndpoint(url, tokenize)
        await endpoint.connect()
        with pytest.raises(EndpointError, match="Context size exceeded"):
            await endpoint.complete(Request("a", (1,), 1))


async def test_where_nothing_speaks_the_api_connecting_says_so() -> None:
    async with server({}, [], []) as url:
        with pytest.raises(EndpointError, match="no OpenAI API at"):
            await HttpEndpoint(url, tokenize).connect()
