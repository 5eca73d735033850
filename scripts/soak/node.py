"""Many runs of whole nodes with real workers, which are killed, stopped and steered at random while agents work.

The model is a tiny one of random weights; neither they nor its KV are rounded. Each seed draws a config and what its
agents do: LLM calls alone and several at once, read as they come or not, constrained or not; tools, notes, files, other
agents. Workers get SIGKILL and SIGSTOP, agents are paused and killed, policies change, and nodes with a journal are
killed and begun again. After each run: every task has ended, those of agents that were not killed with the answers of
an undisturbed node, nothing waits or runs, and no process of a worker and no descriptor is left.

What falls together depends on the machine's own timing, so a seed that failed may hold when it is run again.

    python -m scripts.soak.node [--seeds 100] [--first 0]
"""

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from aios_actors.config.structs import Config
from aios_actors.engine.messages import JsonSchema
from aios_actors.node import Node
from aios_actors.observe.events import TaskResult
from aios_actors.observe.logs import configure_logs
from aios_actors.sdk import Agent, tool
from aios_actors.syscalls.errors import NotFound
from scripts.bench.make_model import SHAPES, write
from scripts.soak.command import run_seeds
from tests.engine.driving import SCHEMA

KINDS = ("worker", "helper")
POLICIES = ("fifo", "round_robin", "priority", "fair", "mlfq", "least_attained", "deadline")
HANG_S = 1.0
PATIENCE_S = 120.0
MOST_DEATHS = 3  # of workers in a run: a call under which four died is given up
MOST_OTHERWISE = 0.001  # of all tasks


@tool
async def nap(seconds: float) -> str:
    """Takes a while."""
    await asyncio.sleep(seconds)
    return "rested"


class Script(Agent):
    """Does the steps that its task lists, and answers with what each came to."""

    tools: Any = (nap, "calculator")

    async def run(self, task: str) -> list[Any]:
        return [await self._do(*step) for step in msgspec.json.decode(task)]

    async def _do(self, what: str, text: str, options: dict[str, Any]) -> Any:
        match what:
            case "chat":
                return (await self.llm.chat(text, **options)).text
            case "json":
                return (await self.llm.chat(text, constraint=JsonSchema(SCHEMA), **options)).text
            case "stream":
                async with self.llm.stream(text, **options) as pieces:
                    return "".join([piece async for piece in pieces])
            case "fan":
                return await asyncio.gather(*(self._do(*step) for step in options["steps"]))
            case "note":
                return (await self.memory.get((await self.memory.add(text)).id)).text
            case "file":
                await self.storage.write(text, text)
                await self.storage.append(text, text)
                return await self.storage.read(text)
            case "ask":
                return await self.agents.ask("helper", text)
        return await self.tools.call(text, **options)


def drawn_steps(draw: random.Random, depth: int = 0) -> list[Any]:
    """What a task does."""
    return [_step(draw, depth) for _ in range(draw.randrange(1, 5))]


def _step(draw: random.Random, depth: int) -> tuple[str, str, dict[str, Any]]:
    text = f"Part {draw.randrange(10)} " * draw.randrange(1, 14)
    sampling: dict[str, Any] = {
        "max_tokens": draw.choice([3, 12, 40, 120, 400]),
        "conversation": draw.choice(["main", "other"]),
    }
    if draw.random() < 0.5:
        sampling |= {"temperature": 0.9, "top_p": 0.95, "seed": draw.randrange(100)}
    chance = draw.random()
    if chance < 0.55:
        return draw.choice(["chat", "chat", "json", "stream"]), text, sampling
    if chance < 0.65:
        return "fan", "", {"steps": [_step(draw, 9) for _ in range(draw.randrange(2, 5))]}
    if chance < 0.8 and depth == 0:
        return "ask", msgspec.json.encode(drawn_steps(draw, depth + 1)).decode(), {}
    others: list[tuple[str, str, dict[str, Any]]] = [
        ("note", text, {}),
        ("file", f"file-{draw.randrange(10**9)}", {}),
        ("tool", "nap", {"seconds": draw.random() / 10}),
        ("tool", "calculator", {"expression": f"{draw.randrange(99)} * {draw.randrange(99)}"}),
    ]
    return draw.choice(others)


def drawn_config(draw: random.Random) -> Config:
    """A node that has little of everything, and its tasks."""
    cells: dict[str, Any] = draw.choice([{}, {"kv_unified": False}, {"cells": draw.choice([1024, 1536])}])
    worker = {
        "count": draw.choice([1, 2]),
        "sequences": draw.choice([1, 2, 4]),
        "speculate": draw.choice(["auto", "off"]),
        "host_memory": draw.choice([0, 1 << 18, 1 << 26]),
        "disk_memory": draw.choice([0, 1 << 26]),
    }
    drawn = [draw.choice(KINDS) for _ in range(draw.randrange(4, 16))]
    tasks = [(kind, drawn_steps(draw, depth=KINDS.index(kind))) for kind in drawn]
    scheduler = {"policy": draw.choice(POLICIES), "slice": draw.choice([4, 16, 64])}
    return _config(tasks, worker | cells, {kind: draw.randrange(1, 4) for kind in KINDS}, scheduler)


def undisturbed(of: Config) -> Config:
    """The same tasks on a node that has enough of everything, and does one thing after the other."""
    tasks = [(task.agent, msgspec.json.decode(task.input)) for task in of.tasks]
    return _config(tasks, {"sequences": 1, "speculate": "off"}, {kind: 1 for kind in KINDS}, {})


def _config(
    tasks: list[tuple[str, list[Any]]], worker: dict[str, Any], counts: dict[str, int], scheduler: dict[str, Any]
) -> Config:
    kind = {"class": "scripts.soak.node:Script", "model": "tiny", "sampling": {"max_tokens": 40}}
    agents = {name: kind | {"count": counts[name], "delegates": ["helper"]} for name in KINDS}
    return msgspec.convert(
        {
            "node": {"hang_s": HANG_S},
            "models": {"tiny": {"path": "tiny.gguf", "context": 1024}},
            "workers": [{"model": "tiny", "threads": 1, "kv_type": "f32", **worker}],
            "scheduler": scheduler,
            "tools": {"modules": ["scripts.soak.node"]},
            "agents": agents,
            "tasks": [{"agent": agent, "input": msgspec.json.encode(steps).decode()} for agent, steps in tasks],
        },
        Config,
    )


class Disturber:
    """Kills, stops and steers at random until its task is cancelled."""

    def __init__(self, node: Node, draw: random.Random, counts: Counter[str]) -> None:
        self._node = node
        self._draw = draw
        self._counts = counts
        self._deaths = draw.randrange(MOST_DEATHS + 1)
        self.killed = False
        self.pids: set[int] = set()

    async def run(self) -> None:
        """Goes on for ever."""
        acts = [self._end_worker, self._end_worker, self._pause, self._pause_all, self._policy, self._look, self._kill]
        while True:
            await anyio.sleep(self._draw.expovariate(1 / 0.05))
            await self._draw.choice(acts)()

    async def note_pids(self) -> list[int]:
        """The processes of the workers that serve now; all that there were are in `pids`."""
        pids = [worker.pid for worker in await self._node.workers() if worker.pid]
        self.pids.update(pids)
        return pids

    async def _end_worker(self) -> None:
        pids = await self.note_pids()
        if pids and self._deaths:
            self._deaths -= 1
            self._counts["worker_ended"] += 1
            with contextlib.suppress(ProcessLookupError):  # it died already, and the node has not noticed
                os.kill(self._draw.choice(pids), self._draw.choice([signal.SIGKILL, signal.SIGSTOP]))

    async def _pause(self) -> None:
        agent = await self._agent()
        with contextlib.suppress(NotFound):  # the kind has instances with numbers
            await self._node.pause(agent)
            await anyio.sleep(self._draw.random() / 5)
            await self._node.resume(agent)
            self._counts["paused"] += 1

    async def _pause_all(self) -> None:
        await self._node.pause()
        await anyio.sleep(self._draw.random() / 5)
        await self._node.resume()

    async def _policy(self) -> None:
        await self._node.set_policy("tiny", self._draw.choice(POLICIES))

    async def _look(self) -> None:
        await self._node.ps()

    async def _kill(self) -> None:
        if self._draw.random() < 0.2:
            self.killed = True
            self._counts["agent_killed"] += 1
            await self._node.kill(await self._agent())

    async def _agent(self) -> str:
        return self._draw.choice([agent.agent for agent in (await self._node.ps()).agents] or [KINDS[0]])


async def run(seed: int, gguf: Path, counts: Counter[str]) -> None:
    """One run. Raises AssertionError if something does not hold."""
    draw = random.Random(seed)
    config = drawn_config(draw)
    with tempfile.TemporaryDirectory() as folder:
        async with Node(undisturbed(config), {"tiny": gguf}, data=Path(folder) / "undisturbed") as node:
            expected = await node.run_tasks(lambda result: None)
        journal, data = draw.choice(["", "soak"]), Path(folder) / "disturbed"
        for _ in range(draw.randrange(3) if journal else 0):
            counts["node_killed"] += 1
            await anyio.to_thread.run_sync(_begin_and_die, config, gguf, data, 0.5 + draw.random())
        before = _open_files()
        async with Node(config, {"tiny": gguf}, data=data, run=journal) as node:
            disturber = Disturber(node, draw, counts)
            done = await _finished(node, disturber)
            await _idle(node)
            await disturber.note_pids()
        _check(done, expected, disturber, counts)
        assert _open_files() <= before, "a descriptor is left"


def _begin_and_die(config: Config, gguf: Path, data: Path, seconds: float) -> None:
    """A node with a journal in a process of its own, which is killed after so long."""
    process = multiprocessing.get_context("spawn").Process(target=_begin, args=(config, gguf, data))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    process.close()


def _begin(config: Config, gguf: Path, data: Path) -> None:
    async def tasks() -> None:
        async with Node(config, {"tiny": gguf}, data=data, run="soak") as node:
            await node.run_tasks(lambda result: None)

    configure_logs("error")
    asyncio.run(tasks())


async def _finished(node: Node, disturber: Disturber) -> tuple[TaskResult, ...]:
    """The results of all tasks, come what may."""
    ended: list[TaskResult] = []
    with anyio.move_on_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(disturber.run)
            done = await node.run_tasks(ended.append)
            group.cancel_scope.cancel()
            return done
    raise AssertionError(f"{len(ended)} tasks have ended, and then nothing: {await node.ps()}")


async def _idle(node: Node) -> None:
    """Returns when nothing waits and nothing runs any more: what was killed ends a little later."""
    for _ in range(1000):
        state = await node.ps()
        if not any(line.waiting or line.running for line in state.models):
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"something is left: {state}")


def _check(
    done: tuple[TaskResult, ...], expected: tuple[TaskResult, ...], disturber: Disturber, counts: Counter[str]
) -> None:
    """What must hold of the answers. Raises AssertionError."""
    assert len(done) == len(expected)
    for result, truth in zip(done, expected, strict=True):
        assert not truth.error, truth
        assert not result.error or disturber.killed, result
        counts.update(tasks=1, failed=bool(result.error), otherwise=not result.error and result.answer != truth.answer)
    left = [pid for pid in disturber.pids if Path(f"/proc/{pid}").exists()]
    assert not left, f"processes of workers are left: {left}"


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def soak(seeds: Iterable[int]) -> Counter[str]:
    """Runs all seeds; what happened in them. Raises AssertionError with the first seed that fails."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "tiny.gguf"
        write(SHAPES["tiny"], gguf, name="tiny", floats=True)
        for seed in seeds:
            try:
                asyncio.run(run(seed, gguf, counts))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
    assert counts["otherwise"] <= max(MOST_OTHERWISE * counts["tasks"], 1), counts
    return counts


if __name__ == "__main__":
    run_seeds(__doc__, soak, 100)
