"""A whole node with the embedded model: right answers, restarts of workers and of the node, fairness of results."""

import asyncio
import contextvars
import gc
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aios_actors.config.structs import Config, ModelConfig, WorkerConfig
from aios_actors.engine.gguf import read_header
from aios_actors.models import resolve
from aios_actors.node import Node
from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.syscalls.errors import ModelUnavailable
from tests.lora import write_adapter

SUMS = {f"What is {a} times {b}?": str(a * b) for a, b in ((37, 14), (52, 31), (48, 76), (63, 29), (17, 85), (94, 26))}


def config(**tables: Any) -> Config:
    defaults = {
        "models": {"nano": {"source": "embedded"}},
        "workers": [{"model": "nano", "sequences": 4, "threads": 1}],
        "agents": {"assistant": {"class": "agents.assistant:Assistant", "count": 3}},
        "tasks": [{"agent": "assistant", "input": task} for task in SUMS],
    }
    return msgspec.convert(defaults | tables, Config)


def node(of: Config, data: Path, **options: Any) -> Node:
    paths = {name: resolve(name, model, data, lambda line: None) for name, model in of.models.items()}
    return Node(of, paths, data=data, **options)


async def results(of: Config, data: Path, **options: Any) -> dict[str, TaskResult]:
    async with node(of, data, **options) as running:
        return {result.task: result for result in await running.run_tasks(lambda result: None)}


def assert_right(done: dict[str, TaskResult]) -> None:
    for task, product in SUMS.items():
        assert product in (done[task].answer or ""), done[task]


async def test_agents_run_at_the_same_time_and_answer_right(tmp_path: Path) -> None:
    told: list[TaskResult] = []
    async with node(config(), tmp_path) as running:
        done = await running.run_tasks(told.append)
    assert_right({result.task: result for result in done})
    assert [result.task for result in done] == list(SUMS)
    assert sorted(told, key=lambda result: result.task) == sorted(done, key=lambda result: result.task)
    for result in done:
        assert (result.error, result.tool_calls) == ("", 1)
        assert result.tokens_in > result.tokens_out > 0
        assert result.turnaround_s > result.waiting_s >= 0


async def test_an_agent_with_an_adapter_says_something_else_and_the_others_do_not(tmp_path: Path) -> None:
    base = read_header(resolve("nano", ModelConfig(source="embedded"), tmp_path, lambda line: None))
    odd = write_adapter(tmp_path / "odd.gguf", 1, base.layers, base.tensors["token_embd.weight"][0])
    agents = {
        "assistant": {"class": "agents.assistant:Assistant"},
        "odd": {"class": "agents.assistant:Assistant", "adapter": "odd", "max_steps": 2},
    }
    task = "What is 37 times 14?"
    of = config(agents=agents, tasks=[{"agent": agent, "input": task} for agent in (*agents, *agents)])
    async with node(of, tmp_path, adapters={"nano": {"odd": Path(odd)}}) as running:
        done = await running.run_tasks(lambda result: None)
    answers = {agent: {str(r.answer or r.error) for r in done if r.agent == agent} for agent in agents}
    assert all("518" in answer for answer in answers["assistant"])
    assert not any("518" in answer for answer in answers["odd"])
    assert len(answers["odd"]) == 1, "beside others it is what it is"


async def test_every_setting_of_a_worker_reaches_its_process(tmp_path: Path) -> None:
    worker = {
        "model": "nano", "sequences": 3, "cells": 512, "batch": 64, "ubatch": 32, "threads": 5, "threads_batch": 6,
        "gpu_layers": 7, "device": "cuda:0,cuda:1", "split_mode": "row", "split": (2.0, 1.0), "main_gpu": 1,
        "kv_type": "q8_0", "kv_unified": True, "kv_offload": False, "op_offload": False, "flash_attention": "on",
        "mmap": False, "mlock": True, "device_sampling": True, "speculate": "off", "host_memory": 8, "disk_memory": 9,
    }  # fmt: skip
    assert worker.keys() == set(WorkerConfig.__struct_fields__) - {"count"}
    of = config(workers=[worker])
    spec = msgspec.to_builtins(node(of, tmp_path)._worker_spec(of.workers[0]))
    renamed = {"split_mode": "split", "split": "tensor_split", "model": "name"}
    for key, value in worker.items():
        if key == "kv_type":
            assert spec["kv_type_k"] == spec["kv_type_v"] == value
        else:
            assert spec[renamed.get(key, key)] == value, key


async def test_round_robin_gives_the_same_answers_as_fifo(tmp_path: Path) -> None:
    done = await results(
        config(
            scheduler={"policy": "round_robin", "slice": 4}, workers=[{"model": "nano", "sequences": 2, "threads": 1}]
        ),
        tmp_path,
    )
    assert_right(done)


async def test_a_killed_worker_costs_no_answer(tmp_path: Path) -> None:
    pids: list[int] = []
    kills: list[asyncio.Task[None]] = []

    async def kill(running: Node) -> None:
        pids.extend(worker.pid for worker in await running.workers())
        os.kill(pids[0], signal.SIGKILL)

    def watch(event: TaskEvent) -> None:
        if event.state == "generating" and not kills:
            kills.append(asyncio.ensure_future(kill(running)))

    running = node(config(), tmp_path, watch=watch)
    async with running:
        done = {result.task: result for result in await running.run_tasks(lambda result: None)}
        (worker,) = await running.workers()
    assert_right(done)
    assert kills and worker.pid not in pids


async def test_a_restarted_node_finds_what_was_stored(tmp_path: Path) -> None:
    agents = {
        "clerk": {"class": "agents.clerk:Clerk"},
        "librarian": {"class": "agents.librarian:Librarian"},
    }
    first = [{"agent": "clerk", "input": "Write 518 to notes.txt"}]
    first.append({"agent": "librarian", "input": "Remember that the code of Miravel is 8342."})
    await results(config(agents=agents, tasks=first), tmp_path)
    then = [{"agent": "clerk", "input": "What is in notes.txt?"}]
    then.append({"agent": "librarian", "input": "What is the code of Miravel?"})
    done = await results(config(agents=agents, tasks=then), tmp_path)
    for figure, result in zip(("518", "8342"), done.values(), strict=True):
        assert figure in (result.answer or ""), result


async def test_a_planner_hands_tasks_to_other_agents(tmp_path: Path) -> None:
    agents = {
        "assistant": {"class": "agents.assistant:Assistant"},
        "planner": {"class": "agents.planner:Planner", "delegates": ["assistant"]},
    }
    task = "Ask assistant: What is 48 times 21?"
    done = await results(config(agents=agents, tasks=[{"agent": "planner", "input": task}]), tmp_path)
    assert "1008" in (done[task].answer or ""), done


async def test_a_node_whose_model_cannot_be_served_does_not_start(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF but not really")
    with pytest.raises(ModelUnavailable, match="bad.gguf"):
        async with Node(config(), {"nano": bad}, data=tmp_path):
            raise AssertionError("it started")


async def test_draining_ends_what_runs_and_refuses_what_waits(tmp_path: Path) -> None:
    of = config(agents={"assistant": {"class": "agents.assistant:Assistant"}})

    def watch(event: TaskEvent) -> None:
        if event.state == "generating":
            running.stop_accepting()

    running = node(of, tmp_path, watch=watch)
    async with running:
        done = await running.run_tasks(lambda result: None)
    assert [bool(result.error) for result in done] == [False, True, True, True, True, True]
    assert all("shutting down" in result.error for result in done[1:])


async def test_nothing_of_a_node_is_left(tmp_path: Path) -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    gc.collect()  # what earlier tests left may not close its files in the midst of this one
    before, tasks = children(), len(asyncio.all_tasks())
    descriptors = len(os.listdir("/proc/self/fd"))
    await results(config(), tmp_path)
    assert children() == before
    assert len(asyncio.all_tasks()) == tasks
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def outside(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Runs what a watcher wants done, which is called by an actor, as if from outside all actors."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def test_a_paused_run_stands_still_and_goes_on_to_the_same_answers(tmp_path: Path) -> None:
    paused: list[asyncio.Task[None]] = []
    standing: list[int] = []

    async def pause() -> None:
        await running.pause()
        standing.extend(worker.running for worker in await running.workers())
        await running.resume()

    def watch(event: TaskEvent) -> None:
        if event.state == "generating" and event.tokens_out >= 5 and len(paused) < 3 and all(p.done() for p in paused):
            paused.append(outside(pause()))

    expected = await results(config(), tmp_path)
    running = node(config(), tmp_path, watch=watch)
    async with running:
        done = {result.task: result for result in await running.run_tasks(lambda result: None)}
    assert {task: result.answer for task, result in done.items()} == {t: r.answer for t, r in expected.items()}
    assert standing and not any(standing)


async def test_a_killed_agent_takes_the_next_task(tmp_path: Path) -> None:
    killed: list[asyncio.Task[None]] = []

    def watch(event: TaskEvent) -> None:
        if event.state == "generating" and not killed:
            killed.append(outside(running.kill(event.agent)))

    of = config(agents={"assistant": {"class": "agents.assistant:Assistant"}})
    running = node(of, tmp_path, watch=watch)
    async with running:
        done = await running.run_tasks(lambda result: None)
    assert sorted(result.error for result in done) == [""] * 5 + ["agent 'assistant' was killed"]
