"""Runs that go on after their node ended: paused and restarted, or killed by signal 9 in the midst of their work."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aios_actors.config.structs import Config
from aios_actors.node import Node
from aios_actors.syscalls.errors import ReplayDiverged
from tests.test_node import SUMS, config, node, outside, results

AGENT = '''
from pathlib import Path

from aios_actors import Agent, tool

HERE = Path(__file__).parent


@tool
def stamp(name: str) -> str:
    """Leaves a mark in the world."""
    with open(HERE / "stamps", "a") as file:
        file.write(name + "\\n")
    return "stamped"


@tool(timeout=60)
def reached(name: str) -> str:
    """Tells the test how far the run has come, and waits until it knows."""
    with open(HERE / "reached", "w") as pipe:
        pipe.write(name)
    return "told"


class Worker(Agent):
    """You answer questions."""

    tools = [stamp, reached]

    async def run(self, task: str) -> list[str]:
        answers = [await self.llm.ask(f"What is {task} plus 11?", temperature=0.8, seed=3)]
        await self.tools.call("stamp", name=task)
        answers.append(await self.llm.ask(f"What is {task} times 3?", temperature=0.8, seed=4))
        child = await self.agents.spawn("helper")
        answers.append(await self.agents.ask(child, task))
        return answers


class Helper(Agent):
    """You help."""

    tools = [stamp, reached]

    async def run(self, task: str) -> str:
        await self.tools.call("stamp", name=f"helper {task}")
        await self.tools.call("reached", name=task)
        return await self.llm.ask(f"Tell me about {task}.", temperature=0.8, max_tokens=40)
'''

CONFIG = """
[models.nano]
source = "embedded"
[[workers]]
model = "nano"
sequences = 2
threads = 1
[agents.worker]
class = "workers:Worker"
delegates = ["helper"]
[agents.helper]
class = "workers:Helper"
[[tasks]]
agent = "worker"
input = "37"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "workers.py").write_text(AGENT)
    (tmp_path / "run.toml").write_text(CONFIG)
    os.mkfifo(tmp_path / "reached")
    return tmp_path


def start(project: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "aios_actors.cli", "run", "run.toml", "--json", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=project, stdout=pipe, stderr=pipe, text=True)


def finish(run: "subprocess.Popen[str]", project: Path) -> Any:
    """The answer of a run, whose `reached` is heard as often as it is told."""
    listener = threading.Thread(target=lambda: (project / "reached").read_text(), daemon=True)
    listener.start()
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    return json.loads(json.loads(out)["answer"])


def test_a_run_killed_by_signal_9_goes_on_and_repeats_no_side_effect(project: Path) -> None:
    expected = finish(start(project, "--run", "whole"), project)
    (project / "stamps").unlink()
    killed = start(project, "--run", "cut")
    assert (project / "reached").read_text() == "37"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    answer = finish(start(project, "--resume", "cut"), project)
    assert answer == expected
    assert (project / "stamps").read_text() == "37\nhelper 37\n"
    again = start(project, "--resume", "cut")
    out, _ = again.communicate(timeout=120)
    assert json.loads(json.loads(out)["answer"]) == expected, "a run that has ended gives its results again"
    assert (project / "stamps").read_text() == "37\nhelper 37\n"


def test_names_that_cannot_be_begun_or_gone_on_with_are_mistakes(project: Path) -> None:
    (project / ".aios" / "runs").mkdir(parents=True)
    (project / ".aios" / "runs" / "old.db").touch()
    for options, words in (
        (("--run", "old"), "there is a run 'old' already; go on with it by --resume old"),
        (("--resume", "new"), "there is no run 'new' in .aios; there are: old"),
        (("--run", "../x"), "should have letters"),
    ):
        run = start(project, *options)
        _, err = run.communicate(timeout=60)
        assert run.returncode == 2 and words in err


async def test_a_run_that_is_paused_and_its_node_restarted_ends_with_the_same_answers(tmp_path: Path) -> None:
    of = config(agents={"assistant": {"class": "agents.assistant:Assistant", "count": 3}})
    expected = await results(of, tmp_path / "whole")
    paused, standing = asyncio.Event(), list["asyncio.Task[None]"]()

    async def pause() -> None:
        await first.pause()
        paused.set()

    def watch(event: Any) -> None:
        if event.tokens_out > 30 and not standing:
            standing.append(outside(pause()))

    data = tmp_path / "cut"
    first = cut_node(of, data, watch=watch)
    async with first:
        running = asyncio.ensure_future(first.run_tasks(lambda result: None))
        await paused.wait()
        assert not any(worker.running for worker in await first.workers())
        running.cancel()
    second = cut_node(of, data)
    async with second:
        done = {result.task: result for result in await second.run_tasks(lambda result: None)}
    assert {task: done[task].answer for task in SUMS} == {task: expected[task].answer for task in SUMS}
    assert sum(result.tokens_out for result in done.values()) <= sum(result.tokens_out for result in expected.values())


async def test_a_run_that_goes_on_with_other_tasks_is_refused(tmp_path: Path) -> None:
    async with cut_node(config(), tmp_path):
        pass
    other = msgspec.structs.replace(config(), tasks=config().tasks[:2])
    with pytest.raises(ReplayDiverged, match="begun with other tasks"):
        async with cut_node(other, tmp_path):
            raise AssertionError("it started")


def cut_node(of: Config, data: Path, **options: Any) -> Node:
    return node(of, data, run="cut", **options)
