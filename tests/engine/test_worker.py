"""The worker as a process: start, serve, stop, and every way of not starting, over a real Unix socket."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from aios_actors.engine.framing import decode_worker_frame, encode, read_frame
from aios_actors.engine.messages import ChatMessage, ChatPrompt, Sampling, TextPrompt, TokenPrompt
from aios_actors.engine.protocol import (
    Cancel,
    Event,
    Forget,
    Hello,
    Hold,
    Loading,
    NodeFrame,
    Ping,
    Pong,
    Preempt,
    Ready,
    Shutdown,
    Start,
    StartFailed,
    Step,
    Submit,
    Tokenize,
    Tokenized,
    WorkerFrame,
)
from aios_actors.engine.spec import WorkerSpec

ENDLESS = Sampling(max_tokens=10_000, ignore_eos=True)


class Node:
    """The node's side: listens, starts a worker, talks to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "w.sock"
        self._accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.events: list[Event] = []

    async def launch(self) -> None:
        self._server = await asyncio.start_unix_server(lambda r, w: self._accepted.put_nowait((r, w)), self.path)
        command = [sys.executable, "-m", "aios_actors.engine.worker", "--socket", str(self.path)]
        self.process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "AIOS_WORKER_TOKEN": "secret"})
        self._reader, self._writer = await self._accepted.get()
        self.hello = await self.receive()

    def send(self, frame: NodeFrame) -> None:
        self._writer.write(encode(frame))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> WorkerFrame | None:
        payload = await read_frame(self._reader)
        return None if payload is None else decode_worker_frame(payload)

    async def start(self, spec: WorkerSpec) -> tuple[list[Loading], WorkerFrame | None]:
        self.send(Start(spec))
        progress = []
        while isinstance(frame := await self.receive(), Loading):
            progress.append(frame)
        return progress, frame

    async def until_finished(self, *requests: int) -> dict[int, Event]:
        finished: dict[int, Event] = {}
        while not set(requests) <= set(finished):
            frame = await self.receive()
            assert isinstance(frame, Step)
            self.events += frame.events
            finished |= {e.id: e for e in frame.events if e.finish}
        return finished

    def hang_up(self) -> None:
        self._writer.close()

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._writer.close()
        self._server.close()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    # A Unix socket's path has at most about 100 bytes, which pytest's own directories may exceed.
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory))
        await node.launch()
        yield node
        await node.close()


@pytest.fixture
async def ready(node: Node, tiny_gguf: Path) -> Node:
    _, frame = await node.start(WorkerSpec(model_path=str(tiny_gguf), context=512, sequences=4))
    assert isinstance(frame, Ready)
    return node


@pytest.fixture
def limit() -> Callable[[Awaitable[int]], Awaitable[int]]:
    """A process's exit status; a worker that does not end fails the test instead of hanging it."""
    return lambda ending: asyncio.wait_for(ending, 20)


Limit = Callable[[Awaitable[int]], Awaitable[int]]


async def test_a_worker_starts_serves_and_shuts_down(node: Node, tiny_gguf: Path, limit: Limit) -> None:
    assert node.hello == Hello("secret", node.process.pid)
    progress, frame = await node.start(WorkerSpec(model_path=str(tiny_gguf), name="tiny", context=512, sequences=4))
    assert progress and progress[-1].progress == 1.0
    assert isinstance(frame, Ready)
    assert (frame.model.name, frame.model.context, frame.model.sequences) == ("tiny", 512, 4)
    own = frame.model.own_attention  # where a C compiler is
    assert (frame.model.kv_unified, frame.model.flash_attention == "on", frame.model.family) == (own, own, "hermes")
    prompt = ChatPrompt((ChatMessage("user", "hello"),))
    node.send(Submit(7, prompt, Sampling(max_tokens=6, ignore_eos=True)))
    result = (await node.until_finished(7))[7].result
    assert result is not None and len(result.tokens) == 6
    assert tuple(t for e in node.events for t in e.tokens) == result.tokens
    assert "".join(e.text for e in node.events) == result.text
    node.send(Shutdown())
    assert await node.receive() is None
    assert await limit(node.process.wait()) == 0


async def test_requests_are_served_while_others_run(ready: Node) -> None:
    ready.send(Submit(1, TextPrompt("a"), ENDLESS))
    ready.send(Submit(2, TextPrompt("b"), Sampling(max_tokens=3, ignore_eos=True)))
    assert set(await ready.until_finished(2)) == {2}
    ready.send(Cancel(1))
    assert (await ready.until_finished(1))[1].finish == "cancelled"


async def test_preempting_resuming_and_shutting_down_mid_way(ready: Node, limit: Limit) -> None:
    ready.send(Submit(1, TextPrompt("a"), ENDLESS))
    ready.send(Submit(2, TextPrompt("b"), ENDLESS))
    await ready.receive()
    ready.send(Preempt(1))
    first = (await ready.until_finished(1))[1].result
    assert first is not None and first.tokens
    ready.send(Submit(3, TextPrompt("a"), ENDLESS, generated=first.tokens))
    await ready.receive()
    ready.send(Shutdown())
    ended = await ready.until_finished(2, 3)
    assert {e.finish for e in ended.values()} == {"preempted"}
    resumed = ended[3].result
    assert resumed is not None and resumed.tokens[: len(first.tokens)] == first.tokens
    assert await limit(ready.process.wait()) == 0


async def test_pings_and_tokenizing_are_answered(ready: Node) -> None:
    ready.send(Ping(5))
    pong = await ready.receive()
    assert isinstance(pong, Pong) and pong.n == 5 and pong.stats.kv_capacity == 4 * 512
    ready.send(Tokenize(1, ChatPrompt((ChatMessage("user", "hello"),))))
    tokenized = await ready.receive()
    assert isinstance(tokenized, Tokenized) and tokenized.error is None and len(tokenized.tokens) > 5
    ready.send(Tokenize(2, TextPrompt("")))
    failed = await ready.receive()
    assert isinstance(failed, Tokenized) and failed.error is not None and failed.error.code == "bad_prompt"


async def test_the_end_of_the_connection_ends_the_worker_also_in_mid_work(ready: Node, limit: Limit) -> None:
    ready.send(Submit(1, TextPrompt("a"), ENDLESS))
    await ready.receive()
    ready.hang_up()
    assert await limit(ready.process.wait()) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_meant_for_the_node_do_not_end_its_worker(ready: Node, number: signal.Signals) -> None:
    ready.process.send_signal(number)
    ready.send(Ping(1))
    assert isinstance(await ready.receive(), Pong)


async def test_bytes_that_are_no_frame_end_the_worker(ready: Node, limit: Limit) -> None:
    ready.send_bytes(b"\0\0\0\x01\xc1")
    assert await limit(ready.process.wait()) == 2


def broken(path: Path, tiny: Path, kind: str) -> WorkerSpec:
    content = tiny.read_bytes()
    if kind == "no_file":
        return WorkerSpec(model_path=str(path))
    path.write_bytes({"not_gguf": b"hello", "load_failed": content[: len(content) - 50_000]}.get(kind, content))
    if kind == "bad_spec":
        return WorkerSpec(model_path=str(path), device="cuda:7", gpu_layers=-1)
    if kind == "bad_template":
        return WorkerSpec(model_path=str(path), chat_template="{% for %}")
    return WorkerSpec(model_path=str(path))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("no_file", "there is no file"),
        ("not_gguf", "is no GGUF file"),
        ("load_failed", "not within the file bounds"),
        ("bad_spec", "no device 'CUDA7'"),
        ("bad_template", "does not compile"),
    ],
)
async def test_a_worker_that_cannot_start_says_why_and_exits(
    node: Node, tiny_gguf: Path, tmp_path: Path, limit: Limit, code: str, words: str
) -> None:
    _, frame = await node.start(broken(tmp_path / "m.gguf", tiny_gguf, code))
    assert isinstance(frame, StartFailed)
    assert (frame.code, words in frame.message) == (code, True), frame.message
    assert await limit(node.process.wait()) == 1


PARENT = """
import asyncio, os, sys
async def main():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aios_actors.engine.worker", "--socket", sys.argv[1])
    await process.wait()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's parent-death signal")
async def test_a_worker_whose_node_died_before_it_connected_ends_with_a_word(tmp_path: Path) -> None:
    nobody = tmp_path / "w.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aios_actors.engine.worker", "--socket", str(nobody), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0 and b"Traceback" not in said
    assert b"there is no node" in said and str(nobody).encode() in said


async def test_a_worker_does_not_outlive_its_parent(limit: Limit) -> None:
    with tempfile.TemporaryDirectory() as directory:
        accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        path = Path(directory) / "w.sock"
        server = await asyncio.start_unix_server(lambda r, w: accepted.put_nowait((r, w)), path)
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(path))
        reader, writer = await accepted.get()
        hello = decode_worker_frame(await read_frame(reader) or b"")
        assert isinstance(hello, Hello)
        parent.send_signal(signal.SIGKILL)
        await limit(parent.wait())
        # The connection is ours and stays open; it ends only because the worker was killed.
        assert await asyncio.wait_for(read_frame(reader), 20) is None
        writer.close()
        server.close()


async def test_an_idle_worker_brings_a_conversation_back_before_it_goes_on(node: Node, tiny_gguf: Path) -> None:
    await node.start(WorkerSpec(model_path=str(tiny_gguf), context=512, sequences=1, kv_unified=False))
    prompts = {"away": tuple(range(40, 140)), "here": tuple(range(140, 240))}
    for number, (conversation, tokens) in enumerate(prompts.items()):
        node.send(
            Submit(number, TokenPrompt(tokens), Sampling(max_tokens=4, ignore_eos=True), conversation=conversation)
        )
        await node.until_finished(number)
    node.send(Forget("here"))
    node.send(Hold("away", 0.4))
    ahead, asked = 0, 0
    while not ahead:  # the worker rests between the questions
        node.send(Ping(asked := asked + 1))
        pong = await node.receive()
        assert isinstance(pong, Pong)
        ahead = pong.stats.pages_ahead
    again = Submit(2, TokenPrompt((*prompts["away"], 7)), Sampling(max_tokens=4, ignore_eos=True), conversation="away")
    node.send(again)
    result = (await node.until_finished(2))[2].result
    assert result is not None and result.tokens_cached == 100 and result.pages_in == 0
