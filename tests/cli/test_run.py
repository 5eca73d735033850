"""A run from start to end on a scripted node: exit codes, signals, closed pipes."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import pytest

from aios_actors.actors import StartFailed
from aios_actors.cli.run import CANNOT_START, PIPE_CLOSED, Run
from aios_actors.config import Config
from aios_actors.config.structs import TaskConfig
from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.observe.state import NodeState
from aios_actors.syscalls.errors import ModelUnavailable


def result(error: str = "") -> TaskResult:
    return TaskResult("a", "t", None if error else "yes", error, 1.0, 0.0, 1, 1, 0, 0)


class ScriptedNode:
    """Answers with `results`; `on_start` runs while it starts, `on_tasks` while tasks run."""

    def __init__(self) -> None:
        self.results = [result()]
        self.on_start: Callable[[], Any] | None = None
        self.on_tasks: Callable[[], Any] | None = None
        self.waits_for_stop = False
        self.stopped = anyio.Event()
        self.left = False
        self.watch: Callable[[TaskEvent], None] | None = None

    def __call__(
        self, config: Config, models: Mapping[str, Path], *, data: Path, watch: Callable[[TaskEvent], None]
    ) -> "ScriptedNode":
        self.watch = watch
        return self

    async def __aenter__(self) -> "ScriptedNode":
        if self.on_start:
            self.on_start()
            await anyio.sleep_forever()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left = True

    async def ps(self) -> NodeState:
        return NodeState()

    def stop_accepting(self) -> None:
        self.stopped.set()

    async def run_tasks(self, on_result: Callable[[TaskResult], None]) -> tuple[TaskResult, ...]:
        if self.on_tasks:
            self.on_tasks()
        if self.waits_for_stop:
            await self.stopped.wait()
        for each in self.results:
            on_result(each)
        return tuple(self.results)


class Recorder:
    """A report that keeps what it is told; `broken` makes it fail as a closed pipe does."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.broken = False

    def _take(self, *what: Any) -> None:
        if self.broken:
            raise BrokenPipeError
        self.told.append(what)

    def begin(self, tasks: int) -> None:
        self._take("begin", tasks)

    def event(self, event: TaskEvent) -> None:
        self._take("event", event)

    def result(self, result: TaskResult) -> None:
        self._take("result", result)

    def note(self, text: str) -> None:
        self._take("note", text)

    def end(self, results: Any, state: NodeState) -> None:
        self._take("end", tuple(results))

    def close(self) -> None:
        self.told.append(("close",))


CONFIG = Config(tasks=(TaskConfig(agent="a", input="t", repeat=3),))


async def run(node: ScriptedNode, report: Recorder, *, serve: bool = False) -> int:
    return await Run(CONFIG, {}, Path(), report, serve=serve, make_node=node)()


async def test_all_answered_is_0() -> None:
    node, report = ScriptedNode(), Recorder()
    assert await run(node, report) == 0
    assert report.told == [("begin", 3), ("result", result()), ("end", (result(),)), ("close",)]
    assert node.left


async def test_a_failed_task_is_1() -> None:
    node, report = ScriptedNode(), Recorder()
    node.results = [result(), result("no luck")]
    assert await run(node, report) == 1


@pytest.mark.parametrize("problem", [ModelUnavailable("nano is too large"), StartFailed("nano is too large")])
async def test_a_node_that_cannot_start_is_2(problem: Exception) -> None:
    def fail() -> None:
        raise problem

    node, report = ScriptedNode(), Recorder()
    node.on_start = fail
    assert await run(node, report) == CANNOT_START
    assert ("note", "the node cannot start: nano is too large") in report.told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_tells_its_number(number: signal.Signals) -> None:
    node, report = ScriptedNode(), Recorder()
    node.waits_for_stop = True
    node.on_tasks = lambda: os.kill(os.getpid(), number)
    assert await run(node, report) == 128 + number
    assert ("end", (result(),)) in report.told
    assert any(
        what[0] == "note" and what[1].startswith(f"{number.name}: running tasks have 30 s") for what in report.told
    )
    assert node.left


async def test_a_signal_cancels_a_node_that_starts() -> None:
    node, report = ScriptedNode(), Recorder()
    node.on_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert await run(node, report) == 128 + signal.SIGTERM
    assert ("note", "SIGTERM: the node had not started yet") in report.told


async def test_serve_stays_until_a_signal() -> None:
    node, report = ScriptedNode(), Recorder()

    class Stopper(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if text.startswith("the node stays up"):
                os.kill(os.getpid(), signal.SIGTERM)

    report = Stopper()
    assert await run(node, report, serve=True) == 128 + signal.SIGTERM
    assert ("end", (result(),)) in report.told


async def test_a_closed_pipe_ends_the_run() -> None:
    node, report = ScriptedNode(), Recorder()
    node.waits_for_stop = True

    def close() -> None:
        report.broken = True
        assert node.watch is not None
        node.watch(TaskEvent(0, "a", "running"))

    node.on_tasks = close
    assert await run(node, report) == PIPE_CLOSED
    assert node.left
