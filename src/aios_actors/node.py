"""A node: one process, one event loop, the kernel with its workers, the agents of one config. It owns all of them."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import msgspec

from aios_actors.actors import ActorSystem, Refusal
from aios_actors.collector import rare_full_collections
from aios_actors.config.structs import Config, ModelConfig, WorkerConfig
from aios_actors.engine.spec import WorkerSpec
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.agents import EndTasks, Kill, Pause, RefuseTasks, Resume, RunTask
from aios_actors.kernel.context import Sync
from aios_actors.kernel.journal import Journal, JournalledKernel, run_file
from aios_actors.kernel.kernel import KERNEL, kernel_specs
from aios_actors.kernel.llm_core import AwaitReady, ListWorkers, WorkerState
from aios_actors.kernel.scheduler.messages import ListLines, SetPolicy
from aios_actors.kernel.tool import ToolRegistry
from aios_actors.kinds import agent_kinds, user_tools
from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.observe.state import NodeState
from aios_actors.sdk.kernel import Kernel

STARTED_AT_ONCE = 64
"""Tasks that are begun before the event loop comes round again: the first steps of thousands take long."""


class Node:
    """An async context manager: entering starts the kernel and waits until every worker serves; leaving stops all.

    Args:
        config: a config without mistakes, see `load_config`.
        models: path of the GGUF of each model that a worker serves.
        data: folder of what outlives the node; made if there is none.
        adapters: paths of the LoRA adapters of each model, by name.
        watch: told of each change in a task's progress.
        run: name of the run whose journal is kept, and gone on with if there is one; "" keeps none.
    """

    def __init__(
        self,
        config: Config,
        models: Mapping[str, Path],
        *,
        data: Path,
        adapters: Mapping[str, Mapping[str, Path]] | None = None,
        watch: Callable[[TaskEvent], None] | None = None,
        run: str = "",
    ) -> None:
        self._config = config
        self._models = models
        self._data = data
        self._adapters = adapters or {}
        self._accounts = Accounts(watch, config.run.budget)
        self._draining = anyio.Event()
        self._run = run
        self._journal: Journal | None = None
        self._process = ExitStack()
        self.system = ActorSystem("node", supervision=KERNEL)

    async def __aenter__(self) -> Self:
        """Starts the node. Raises ModelUnavailable if a worker cannot serve its model."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._sockets = Path(tempfile.mkdtemp(prefix="aios-"))
        self._process.enter_context(rare_full_collections())
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def _start(self) -> None:
        config = self._config
        if self._run:
            self._journal = await Journal.open(run_file(self._data, self._run), self._inputs(), self._sync)
        kinds = agent_kinds(config, self._kernel_of)
        workers = [self._worker_spec(worker) for worker in config.workers for _ in range(worker.count)]
        tools = ToolRegistry(user_tools(config), config.tools.limits)
        for spec in kernel_specs(
            config, workers, kinds, tools, self._accounts, self._data, self._sockets, self._journal
        ):
            await self.system.spawn_spec(spec)
        await self.system.actor_of("llm_core").ask(AwaitReady())

    def _kernel_of(self, agent: str) -> Kernel:
        """Whom an agent asks."""
        scheduler = self.system.actor_of("scheduler")
        return scheduler if self._journal is None else JournalledKernel(scheduler, self._journal, agent)

    async def _sync(self) -> None:
        await self.system.actor_of("context").ask(Sync())

    def _inputs(self) -> list[tuple[str, str]]:
        """Agent and input of each task of the run."""
        return [(task.agent, task.input) for task in self._config.tasks for _ in range(task.repeat)]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._stop()

    async def _stop(self) -> None:
        await self.system.shutdown()
        if self._journal is not None:
            await self._journal.close()
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._process.close()

    async def workers(self) -> tuple[WorkerState, ...]:
        """What every worker does now."""
        return await self.system.actor_of("llm_core").ask(ListWorkers())

    async def ps(self) -> NodeState:
        """Who used what since the node started, and how long the lines before the models are."""
        agents, run = self._accounts.totals()
        return NodeState(agents, await self.system.actor_of("scheduler").ask(ListLines()), run)

    async def set_policy(self, model: str, policy: str) -> None:
        """Changes who gets a model next, while the node runs; LLM calls that wait move over.

        Args:
            model: a model that workers serve.
            policy: a name as in `[scheduler]`.

        Raises:
            NotFound: no worker serves such a model.
            InvalidArgument: there is no such policy.
        """
        await self.system.actor_of("scheduler").ask(SetPolicy(model, policy))

    async def pause(self, agent: str = "") -> None:
        """Lets an agent, with those that it made, stand still; without a name the whole run. Returns when it does.

        Its generation leaves its worker and keeps its tokens and its place in the line; what it asks for waits; a tool
        call under way ends, and its answer waits too. The seconds of its budget stand still.

        Raises:
            NotFound: there is no such agent.
        """
        await self.system.actor_of("agents").ask(Pause(agent))

    async def resume(self, agent: str = "") -> None:
        """Lets a paused agent, or all of them, go on exactly where they were. Raises NotFound."""
        await self.system.actor_of("agents").ask(Resume(agent))

    async def kill(self, agent: str = "") -> None:
        """Ends what an agent does, with those that it made; without a name the whole run.

        Who waits for it gets AgentKilled, and all that it held is free. An agent of the config is made anew.

        Raises:
            NotFound: there is no such agent.
        """
        await self.system.actor_of("agents").ask(Kill(agent))

    def stop_accepting(self) -> None:
        """No task begins any more; `run_tasks` returns when those that run have ended, or `drain_s` is over."""
        self._draining.set()

    async def run_tasks(self, on_result: Callable[[TaskResult], None]) -> tuple[TaskResult, ...]:
        """Runs all tasks of the config at the same time; those that ended in the run before are not run again.

        Args:
            on_result: called with each task's result as it ends.

        Returns:
            The results in the config's order.
        """
        results: dict[int, TaskResult] = {}
        known = {} if self._journal is None else await self._journal.results()
        began = self.system.now()

        async def run(number: int, agent: str, text: str) -> None:
            results[number] = known.get(number) or await self._run_task(number, agent, text, began)
            on_result(results[number])

        async with anyio.create_task_group() as watch:
            watch.start_soon(self._drain)
            # A task of anyio's takes 1.5 kB more, and there may be ten thousand.
            async with asyncio.TaskGroup() as tasks:
                for number, (agent, text) in enumerate(self._inputs()):
                    tasks.create_task(run(number, agent, text))
                    if number % STARTED_AT_ONCE == 0:
                        await anyio.lowlevel.checkpoint()
            watch.cancel_scope.cancel()
        return tuple(results[number] for number in sorted(results))

    async def _drain(self) -> None:
        """Once no task is to begin any more: those that wait are refused, those that run get `drain_s`."""
        await self._draining.wait()
        host = self.system.actor_of("agents")
        await host.ask(RefuseTasks())
        await anyio.sleep(self._config.node.drain_s)
        await host.ask(EndTasks())

    async def _run_task(self, number: int, agent: str, text: str, began: float) -> TaskResult:
        try:
            done = await self.system.actor_of("agents").ask(RunTask(number, agent, text))
        except Refusal as error:
            return TaskResult(agent, text, None, str(error), self.system.now() - began, 0.0, 0, 0, 0, 0)
        use = done.account.usage
        result = TaskResult(
            agent=done.agent,
            task=text,
            answer=None if done.error else _as_text(done.answer),
            error=done.error,
            turnaround_s=self.system.now() - began,
            waiting_s=use.waiting_s,
            tokens_in=use.tokens_in,
            tokens_out=use.tokens_out,
            tokens_cached=use.tokens_cached,
            tool_calls=done.account.tool_calls,
        )
        if self._journal is not None and done.final:
            await self._journal.finish(number, result)
        return result

    def _worker_spec(self, worker: WorkerConfig) -> WorkerSpec:
        model = self._config.models.get(worker.model, ModelConfig())
        return WorkerSpec(
            model_path=str(self._models[worker.model]),
            name=worker.model,
            context=model.context,
            pooling=model.pooling,
            sequences=worker.sequences,
            cells=worker.cells,
            batch=worker.batch,
            ubatch=worker.ubatch,
            threads=worker.threads,
            threads_batch=worker.threads_batch,
            gpu_layers=worker.gpu_layers,
            device=worker.device,
            split=worker.split_mode,
            tensor_split=worker.split,
            main_gpu=worker.main_gpu,
            kv_type_k=worker.kv_type,
            kv_type_v=worker.kv_type,
            kv_unified=worker.kv_unified,
            kv_offload=worker.kv_offload,
            op_offload=worker.op_offload,
            flash_attention=worker.flash_attention,
            mmap=worker.mmap,
            mlock=worker.mlock,
            device_sampling=worker.device_sampling,
            speculate=worker.speculate,
            host_memory=worker.host_memory,
            disk_memory=worker.disk_memory,
            disk_folder=str(self._data.resolve()),
            adapters={name: str(path) for name, path in self._adapters.get(worker.model, {}).items()},
        )


def _as_text(answer: Any) -> str:
    """An agent's answer as it is shown: text as it is, all else as JSON."""
    return answer if isinstance(answer, str) else msgspec.json.encode(answer, enc_hook=str).decode()
