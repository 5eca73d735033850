"""The commands that look at a running node and steer it, against a real one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest

from aios_actors.cli.main import main
from aios_actors.config.structs import AgentConfig, Config, TaskConfig
from aios_actors.control import control
from aios_actors.node import Node
from aios_actors.observe.state import NodeState
from aios_actors.sdk import Agent


class Echo(Agent):
    """Answers with its task; one that begins with `fail` it cannot do."""

    async def run(self, task: str) -> str:
        if task.startswith("fail"):
            raise ValueError("as asked")
        return task


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[str]:
    """The folder of a node whose agents have done three tasks."""
    agents = {"echo": AgentConfig(class_=f"{Echo.__module__}:{Echo.__name__}", count=2)}
    tasks = tuple(TaskConfig(agent="echo", input=text) for text in ("one", "two", "fail"))
    async with Node(Config(agents=agents, tasks=tasks), {}, data=tmp_path) as node, control(node, tmp_path):
        await node.run_tasks(lambda result: None)
        yield str(tmp_path)


async def run(*arguments: str) -> int:
    """The command line's exit code; it has an event loop of its own, so it gets a thread."""
    return await anyio.to_thread.run_sync(main, list(arguments))


async def test_ps_shows_agents_with_what_they_do_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as data:
        assert await run("pause", "echo-1", "--data", data) == 0
        assert await run("ps", "--data", data) == 0
        shown = capsys.readouterr().out
        assert [line.split()[:2] for line in shown.splitlines() if line.startswith("echo-")] == [
            ["echo-1", "paused"],
            ["echo-2", "idle"],
        ]
        assert "1 failed" in shown and "run: 0 tokens" in shown
        assert await run("resume", "--data", data) == 0
        assert await run("ps", "--json", "--data", data) == 0
    state = msgspec.json.decode(capsys.readouterr().out, type=NodeState)
    assert {(each.agent, each.state) for each in state.agents} == {("echo-1", "idle"), ("echo-2", "idle")}
    assert sum(each.tasks for each in state.agents) == 3


async def test_what_the_node_refuses_ends_with_1_and_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as data:
        assert await run("kill", "ecko", "--data", data) == 1
        assert 'no agent named "ecko"' in capsys.readouterr().err
        assert await run("policy", "nano", "fair", "--data", data) == 1
        assert "nano" in capsys.readouterr().err


def test_without_a_node_every_command_ends_with_2_and_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["ps"], ["pause"], ["resume"], ["kill", "a"], ["policy", "nano", "fair"]):
        assert main([*command, "--data", str(tmp_path)]) == 2
        assert f"no node runs with the data folder {tmp_path}" in capsys.readouterr().err
    assert main(["ps", "--every", "1", "--data", str(tmp_path)]) == 2
