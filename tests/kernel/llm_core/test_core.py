"""The LLM core with real worker processes: answers, streams, crashes, hangs, bad models, no process left behind."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from aios_actors.actors import Actor, ActorRef, ActorSystem, Reply, handler
from aios_actors.config.structs import ModelConfig
from aios_actors.engine.environment import BRIEF_SPINS, HUGE_PAGES
from aios_actors.engine.messages import ChatMessage, ChatPrompt, Sampling, TextPrompt
from aios_actors.engine.protocol import NodeFrame
from aios_actors.engine.spec import WorkerSpec
from aios_actors.kernel.accounts import Account, Accounts
from aios_actors.kernel.llm_core import AwaitReady, ListWorkers, LlmCore
from aios_actors.kernel.llm_core.embeddings import DEATHS, EmbeddingRequests
from aios_actors.kernel.llm_core.generation import UNREAD_REPORT_S, Generation
from aios_actors.kernel.llm_core.messages import AgentWaits, Capacity, EmbedTexts, Generate, Outcome, PreemptJob
from aios_actors.models import resolve
from aios_actors.syscalls.errors import EmbeddingFailed, GenerationFailed, ModelUnavailable
from aios_actors.syscalls.llm import Embeddings

PROMPT = ChatPrompt((ChatMessage("user", "What is 2 plus 2?"),))
LONG = Sampling(max_tokens=400, ignore_eos=True)


class Capacities(Actor):
    """Stands in for the scheduler: keeps what the core says of its places, and wakes who waits for a change."""

    def __init__(self, seen: "asyncio.Queue[Capacity]") -> None:
        self._seen = seen

    @handler
    def capacity(self, message: Capacity) -> None:
        self._seen.put_nowait(message)


class Core:
    """The core under test, and what it told the scheduler."""

    def __init__(self, ref: ActorRef, said: "asyncio.Queue[Capacity]") -> None:
        self.ref = ref
        self.said = said

    async def pid(self) -> int:
        (worker,) = await self.ref.ask(ListWorkers())
        return int(worker.pid)

    def embed(self, *texts: str, id: int = 90) -> "asyncio.Future[Embeddings]":
        return asyncio.ensure_future(self.ref.ask(EmbedTexts(id, "a", "nano", texts)))

    def generate(self, id: int = 1, **fields: Any) -> "asyncio.Future[Outcome]":
        request = Generate(id=id, caller="a", model="nano", **{"prompt": PROMPT, "sampling": Sampling(), **fields})
        return asyncio.ensure_future(self.ref.ask(request))


@contextlib.asynccontextmanager
async def running_core(folder: Path, hang_s: float = 60.0, **spec: Any) -> AsyncIterator[Core]:
    path = str(resolve("nano", ModelConfig(source="embedded"), folder, print))
    said: asyncio.Queue[Capacity] = asyncio.Queue()
    worker = WorkerSpec(**{"model_path": path, "name": "nano", "context": 512, "sequences": 4, "threads": 1, **spec})
    async with ActorSystem("test") as system:
        await system.spawn(Capacities, said, name="scheduler")
        yield Core(await system.spawn(LlmCore, [worker], folder, Accounts(), hang_s, name="llm_core"), said)


def gone(pid: int) -> bool:
    """Whether no such process is left, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()


async def test_a_generation_streams_and_ends(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        (info,) = await core.ref.ask(AwaitReady())
        assert (info.name, info.sequences) == ("nano", 4)
        pieces: list[str] = []
        outcome = await core.generate(on_text=pieces.append)
        assert outcome.finish in ("stop", "length", "tool_calls") and outcome.result is not None
        assert "".join(pieces) == outcome.result.text
        pid = await core.pid()
    assert gone(pid)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
async def test_a_worker_is_started_with_its_environment(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        variables = Path(f"/proc/{await core.pid()}/environ").read_bytes().decode().split("\0")
    assert {f"{name}={value}" for name, value in (BRIEF_SPINS | HUGE_PAGES).items()} <= set(variables)


async def test_a_listener_that_raises_loses_its_stream_and_not_its_answer(tmp_path: Path) -> None:
    heard: list[str] = []

    def listener(text: str) -> None:
        heard.append(text)
        raise ValueError(text)

    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        outcome = await core.generate(on_text=listener, sampling=Sampling(max_tokens=40, ignore_eos=True))
        assert outcome.result is not None and len(outcome.generated) == 40
        assert len(heard) == 1


@pytest.mark.parametrize(("on_text", "period"), [(print, 0.0), (None, UNREAD_REPORT_S)])
def test_a_worker_tells_each_token_at_once_only_where_it_is_read(on_text: Any, period: float) -> None:
    request = Generate(id=1, caller="a", model="nano", prompt=PROMPT, sampling=LONG, on_text=on_text, priority=3)
    frame = Generation(request, cast(Reply[Outcome], None)).frame()
    assert (frame.report_s, frame.priority) == (period, 3)


async def test_a_killed_workers_generations_come_back_with_their_tokens_and_go_on_exactly(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        whole = await core.generate(id=1, sampling=LONG)
        begun = asyncio.Event()
        cut = core.generate(id=2, sampling=LONG, on_text=lambda text: begun.set())
        await begun.wait()
        pid = await core.pid()
        os.kill(pid, signal.SIGKILL)
        lost = await cut
        assert lost.finish == "lost" and 0 < len(lost.generated) < len(whole.generated)
        assert lost.generated == whole.generated[: len(lost.generated)]
        places = [await core.said.get() for _ in range(3)]
        assert [each.places for each in places] == [4, 0, 4]
        again = await core.generate(id=3, sampling=LONG, generated=lost.generated)
        assert again.generated == whole.generated
        assert again.result is not None and whole.result is not None and again.result.text == whole.result.text
        assert await core.pid() != pid


async def test_a_worker_that_hangs_is_killed_and_its_generation_goes_on(tmp_path: Path) -> None:
    async with running_core(tmp_path, hang_s=1.0) as core:
        await core.ref.ask(AwaitReady())
        begun = asyncio.Event()
        cut = core.generate(sampling=LONG, on_text=lambda text: begun.set())
        await begun.wait()
        pid = await core.pid()
        os.kill(pid, signal.SIGSTOP)
        lost = await cut
        assert lost.finish == "lost" and gone(pid)
        assert [(await core.said.get()).places for _ in range(3)] == [4, 0, 4]


async def test_a_preempted_generation_makes_room_and_goes_on_as_it_would_have(tmp_path: Path) -> None:
    async with running_core(tmp_path, sequences=1) as core:
        await core.ref.ask(AwaitReady())
        whole = await core.generate(id=1, sampling=LONG)
        first_tokens = asyncio.Event()
        cut = core.generate(id=2, sampling=LONG, on_text=lambda text: first_tokens.set())
        await first_tokens.wait()
        core.ref.tell(PreemptJob(2))
        outcome = await cut
        assert outcome.finish == "slice" and 0 < len(outcome.generated) < len(whole.generated)
        assert outcome.generated == whole.generated[: len(outcome.generated)]
        await core.ref.ask(PreemptJob(2))  # it has ended, which is no error
        rest = await core.generate(id=3, sampling=LONG, generated=outcome.generated)
        assert rest.generated == whole.generated


async def test_a_worker_takes_news_of_how_long_an_agent_waits(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        whole = await core.generate(id=1, conversation="a/main")
        for agent in ("a", "nobody"):
            await core.ref.ask(AgentWaits(agent, 5.0))
        assert (await core.generate(id=2, conversation="a/main")).generated == whole.generated


async def test_what_a_cancelled_generation_made_in_vain_is_charged(tmp_path: Path) -> None:
    account, begun = Account("a"), asyncio.Event()
    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        call = core.generate(sampling=LONG, account=account, on_text=lambda text: begun.set())
        await begun.wait()
        call.cancel()
        await core.ref.ask(ListWorkers())
    assert 0 < account.used["tokens"] < 400


async def test_a_slice_ends_early_and_the_rest_is_what_it_would_have_been(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        sampling = Sampling(max_tokens=40, temperature=0.9, seed=7, ignore_eos=True)
        whole = await core.generate(id=1, sampling=sampling)
        generated: tuple[int, ...] = ()
        outcome = None
        for number in range(2, 12):
            outcome = await core.generate(
                id=number, sampling=sampling, generated=generated, slice=8, conversation="a/main"
            )
            generated = outcome.generated
            if outcome.finish != "slice":
                break
        assert outcome is not None and outcome.finish == "length"
        assert generated == whole.generated


async def test_a_cancelled_generation_frees_the_worker(tmp_path: Path) -> None:
    async with running_core(tmp_path, sequences=1) as core:
        await core.ref.ask(AwaitReady())
        begun = asyncio.Event()
        running = core.generate(id=1, sampling=LONG, on_text=lambda text: begun.set())
        await begun.wait()
        running.cancel()
        assert (await core.generate(id=2)).result is not None
        (worker,) = await core.ref.ask(ListWorkers())
        assert worker.running == 0


async def test_a_prompt_that_is_too_long_is_refused_with_both_lengths(tmp_path: Path) -> None:
    async with running_core(tmp_path, context=256) as core:
        await core.ref.ask(AwaitReady())
        with pytest.raises(GenerationFailed, match="256"):
            await core.generate(prompt=TextPrompt("word " * 2000))


async def test_a_worker_that_cannot_load_its_model_is_given_up_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no gguf at all")
    async with running_core(tmp_path, model_path=str(bad)) as core:
        with pytest.raises(ModelUnavailable, match="bad.gguf"):
            await core.ref.ask(AwaitReady())
        told = await core.said.get()
        assert told.places == 0 and "bad.gguf" in told.error
        (worker,) = await core.ref.ask(ListWorkers())
        assert (worker.pid, worker.deaths) == (0, 0)


async def test_two_workers_share_the_load_and_one_keeps_its_conversations(tmp_path: Path) -> None:
    path = str(resolve("nano", ModelConfig(source="embedded"), tmp_path, print))
    said: asyncio.Queue[Capacity] = asyncio.Queue()
    specs = [WorkerSpec(path, name="nano", context=256, sequences=1, threads=1) for _ in range(2)]
    async with ActorSystem("test") as system:
        await system.spawn(Capacities, said, name="scheduler")
        core = Core(await system.spawn(LlmCore, specs, tmp_path, Accounts(), name="llm_core"), said)
        await core.ref.ask(AwaitReady())
        assert [(await said.get()).places for _ in range(2)] == [1, 2]
        begun = [asyncio.Event(), asyncio.Event()]
        both = [
            core.generate(
                id=n,
                sampling=Sampling(max_tokens=60, ignore_eos=True),
                conversation=f"c{n}",
                on_text=lambda text, n=n: begun[n].set(),
            )
            for n in range(2)
        ]  # type: ignore[misc]
        await asyncio.gather(*(each.wait() for each in begun))
        assert [worker.running for worker in await core.ref.ask(ListWorkers())] == [1, 1]
        await asyncio.gather(*both)
        again = await core.generate(id=5, conversation="c1")
        assert again.result is not None and again.result.tokens_cached > 0


async def test_texts_are_embedded_beside_generations(tmp_path: Path) -> None:
    async with running_core(tmp_path, pooling="mean") as core:
        await core.ref.ask(AwaitReady())
        begun = asyncio.Event()
        long = core.generate(sampling=LONG, on_text=lambda text: begun.set())
        await begun.wait()
        texts = ("What is 2 plus 2?", "What is 2 plus 3?", "Write the file notes.txt.")
        reply = await core.embed(*texts)
        assert not long.done(), "they did not wait for it"
        first, second, third = reply.vectors
        product = [sum(a * b for a, b in zip(first, other, strict=True)) for other in (first, second, third)]
        assert product[0] == pytest.approx(1.0, abs=1e-5)
        assert product[0] > product[1] > product[2]
        assert reply.tokens > 3
        assert (await long).finish == "length"


async def test_what_cannot_be_embedded_is_refused(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.ref.ask(AwaitReady())
        with pytest.raises(EmbeddingFailed, match="nano is no embedding model"):
            await core.embed("a")


async def test_texts_whose_worker_dies_are_embedded_by_the_next_one(tmp_path: Path) -> None:
    async with running_core(tmp_path, pooling="mean") as core:
        await core.ref.ask(AwaitReady())
        expected = await core.embed("a text")
        pid = await core.pid()
        os.kill(pid, signal.SIGSTOP)  # so that it cannot have answered before it dies
        embedding, dropped = core.embed("a text", id=91), core.embed("another", id=92)
        dropped.cancel()
        await asyncio.wait({dropped})
        os.kill(pid, signal.SIGKILL)
        assert (await embedding).vectors == expected.vectors
        assert await core.pid() != pid


async def test_texts_that_kill_their_workers_are_given_up(tmp_path: Path) -> None:
    sent: list[tuple[int, NodeFrame]] = []
    requests = EmbeddingRequests(lambda model: [0, 1], lambda worker, frame: sent.append((worker, frame)))
    reply = Refused()
    requests.add(EmbedTexts(5, "a", "nano", ("x",)), reply)  # type: ignore[arg-type]
    for _ in range(DEATHS + 1):
        assert not reply.errors
        requests.lost(sent[-1][0])
    (error,) = reply.errors
    assert isinstance(error, EmbeddingFailed) and "4 workers died" in str(error)
    assert len(sent) == DEATHS + 1


class Refused:
    """A reply slot that keeps its error."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def on_cancel(self, callback: object) -> None:
        """Nobody cancels."""

    def fail(self, error: Exception) -> None:
        self.errors.append(error)
