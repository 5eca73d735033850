"""Runs scripted agents on a whole node: real kernel, real worker, the policy of choice."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from aios_actors.config.structs import AgentConfig, Config, ModelConfig, SchedulerConfig, TaskConfig, WorkerConfig
from aios_actors.node import Node
from scripts.bench.measures import resident_bytes
from scripts.bench.paper.agents import Call, Follower, Script
from scripts.bench.paper.options import Options

MODEL = "nano"
PROBE_S = 0.002


class Kind(Struct, frozen=True):
    """Agents of one kind, one for each script.

    Attributes:
        name: of the kind.
        scripts: what they do.
        settings: fields of their config entry, such as priority and weight.
    """

    name: str
    scripts: tuple[Script, ...]
    settings: Mapping[str, Any] = {}


class Ended(Struct, frozen=True):
    """How an agent ended.

    Attributes:
        kind: of the agent.
        turnaround_s: from the start of the run, or from its delay's end.
        calls: its LLM calls.
        error: why it failed; "" if it did not.
    """

    kind: str
    turnaround_s: float
    calls: tuple[Call, ...]
    error: str = ""


@dataclass
class NodeRun:
    """One run.

    Attributes:
        agents: in the order of their scripts.
        began: `time.perf_counter` at the start.
        wall_s: seconds until the last agent ended.
        resident: growth of the node's resident memory over what it was before it had agents, in bytes.
        lag_s: longest time that the event loop did not come round.
    """

    agents: list[Ended] = field(default_factory=list)
    began: float = 0.0
    wall_s: float = 0.0
    resident: int = 0
    lag_s: float = 0.0

    @property
    def failed(self) -> int:
        """Agents that did not end well."""
        return sum(bool(agent.error) for agent in self.agents)

    def calls(self, kind: str = "") -> list[Call]:
        """The LLM calls of one kind; of all if none is named."""
        return [call for agent in self.agents if kind in ("", agent.kind) for call in agent.calls]


async def run_on_node(
    options: Options,
    kinds: Sequence[Kind],
    *,
    policy: str = "fifo",
    places: int = 0,
    workers: int = 1,
    scheduler: Mapping[str, Any] = {},
) -> NodeRun:
    """Lets all agents start together on a fresh node.

    Args:
        options: model and threads.
        kinds: the agents.
        policy: by which the scheduler chooses.
        places: sequences of a worker; 0 lets the engine choose.
        workers: how many processes run the model.
        scheduler: other fields of the scheduler's config.
    """
    agents = {
        kind.name: AgentConfig(
            class_=f"{Follower.__module__}:{Follower.__name__}", count=len(kind.scripts), **kind.settings
        )
        for kind in kinds
    }
    scripts = [(kind.name, script) for kind in kinds for script in kind.scripts]
    config = Config(
        models={MODEL: ModelConfig(path=str(options.model))},
        workers=(WorkerConfig(model=MODEL, count=workers, sequences=places, threads=options.threads, speculate="off"),),
        scheduler=msgspec.convert({"policy": policy, **scheduler}, SchedulerConfig),
        agents=agents,
        tasks=tuple(TaskConfig(agent=name, input=msgspec.json.encode(script).decode()) for name, script in scripts),
    )
    run = NodeRun()
    before = resident_bytes()
    with tempfile.TemporaryDirectory() as folder:
        async with Node(config, {MODEL: options.model}, data=Path(folder)) as node, watched(run):
            run.began = time.perf_counter()
            results = await node.run_tasks(lambda result: None)
            run.wall_s = time.perf_counter() - run.began
    run.resident -= before
    for (name, script), result in zip(scripts, results, strict=True):
        calls = msgspec.json.decode(result.answer, type=tuple[Call, ...]) if result.answer is not None else ()
        run.agents.append(Ended(name, result.turnaround_s - script.delay_s, calls, result.error))
    return run


@asynccontextmanager
async def watched(run: NodeRun) -> AsyncIterator[None]:
    """Notes in `run` the largest memory, and how late the event loop came round to a timer."""

    async def probe() -> None:
        while True:
            due = time.perf_counter() + PROBE_S
            await asyncio.sleep(PROBE_S)
            run.lag_s = max(run.lag_s, time.perf_counter() - due)
            run.resident = max(run.resident, resident_bytes())

    task = asyncio.create_task(probe())
    try:
        yield
    finally:
        task.cancel()
