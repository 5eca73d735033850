"""Runs a node from its start to its end: tasks, signals, exit code.

Contract: the first SIGTERM or SIGINT drains (no new task begins, running ones get `node.drain_s`), or cancels a node
that is still starting; the second ends the process at once. Nothing that a report does (a closed pipe) reaches the
node: it cancels the run instead. Worker processes end with this one, however it ends.
"""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from aios_actors.actors import StartFailed
from aios_actors.cli.report import Report
from aios_actors.config import Config
from aios_actors.control.server import Steered, control
from aios_actors.kernel.database import DatabaseUnusable
from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.syscalls.errors import ModelUnavailable, ReplayDiverged

ALL_ANSWERED, SOME_FAILED, CANNOT_START = 0, 1, 2
PIPE_CLOSED = 128 + signal.SIGPIPE


class RunningNode(Steered, Protocol):
    """What a run needs of a started node."""

    async def run_tasks(self, on_result: Callable[[TaskResult], None]) -> tuple[TaskResult, ...]: ...

    def stop_accepting(self) -> None: ...


class NodeFactory(Protocol):
    """Makes a node that starts when its context is entered; `aios_actors.node.Node` is one."""

    def __call__(
        self, config: Config, models: Mapping[str, Path], *, data: Path, watch: Callable[[TaskEvent], None]
    ) -> AbstractAsyncContextManager[RunningNode]: ...


class Run:
    """One run of a config.

    Args:
        config: a checked config.
        models: the GGUF of each model.
        data: folder of what outlives the node.
        report: what the user sees.
        serve: stay up after the tasks until a signal.
        make_node: makes the node.
    """

    def __init__(
        self, config: Config, models: Mapping[str, Path], data: Path, report: Report, *, serve: bool,
        make_node: NodeFactory,
    ) -> None:  # fmt: skip
        self._config = config
        self._models = models
        self._data = data
        self._report = report
        self._serve = serve
        self._make_node = make_node
        self._node: RunningNode | None = None
        self._signal = 0
        self._pipe_closed = False

    async def __call__(self) -> int:
        """Runs to the end; returns the process's exit code."""
        code = ALL_ANSWERED
        self._scope = anyio.CancelScope()
        self._stop = anyio.Event()
        async with anyio.create_task_group() as group:
            await group.start(self._take_signals)
            with self._scope:
                code = await self._run_node()
            group.cancel_scope.cancel()
        if self._signal:
            return 128 + self._signal
        return PIPE_CLOSED if self._pipe_closed else code

    async def _run_node(self) -> int:
        try:
            async with (
                self._make_node(self._config, self._models, data=self._data, watch=self._watch) as node,
                control(node, self._data),
            ):
                self._node = node
                self._tell(lambda: self._report.begin(sum(task.repeat for task in self._config.tasks)))
                results = await node.run_tasks(self._take_result)
                state = await node.ps()
                self._tell(lambda: self._report.end(results, state))
                if self._serve and not self._stop.is_set():
                    self._tell(lambda: self._report.note("the node stays up; SIGTERM or Ctrl-C stops it"))
                    await self._stop.wait()
        except (ModelUnavailable, StartFailed, DatabaseUnusable, ReplayDiverged) as problem:
            text = str(problem)
            self._tell(lambda: self._report.note(f"the node cannot start: {text}"))
            return CANNOT_START
        finally:
            self._report.close()
        return SOME_FAILED if any(result.error for result in results) else ALL_ANSWERED

    async def _take_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for received in signals:
                if self._signal:
                    self._report.close()
                    os._exit(128 + received)
                self._signal = received
                self._begin_stop(received.name)

    def _begin_stop(self, name: str) -> None:
        if self._node is None:
            self._tell(lambda: self._report.note(f"{name}: the node had not started yet"))
            self._scope.cancel()
            return
        drain = self._config.node.drain_s
        self._tell(
            lambda: self._report.note(
                f"{name}: running tasks have {drain:g} s to end; a second signal ends them at once"
            )
        )
        self._node.stop_accepting()
        self._stop.set()

    def _watch(self, event: TaskEvent) -> None:
        self._tell(lambda: self._report.event(event))

    def _take_result(self, result: TaskResult) -> None:
        self._tell(lambda: self._report.result(result))

    def _tell(self, telling: Callable[[], None]) -> None:
        """Tells the report; when nobody reads it any more, the run ends."""
        if self._pipe_closed:
            return
        try:
            telling()
        except BrokenPipeError:
            self._pipe_closed = True
            self._scope.cancel()
