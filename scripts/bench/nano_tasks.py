"""How well the nano model does held-out tasks, end to end: agents on a node, real inference, real tools.

Each task gets an agent of its own with its own files and facts. After the run the world is compared with the truth: the
content of files, the facts stored, the figures in the answer. Nothing in a task (names, numbers, paths, phrases)
occurs in training; the second set has tools that the model never saw. Two more sets are worded in less usual ways:
idioms, notations, jargon, roundabout requests.

    python -m scripts.bench.nano_tasks [--quick] [--json] [--tasks 480] [--failures]
"""

import argparse
import inspect
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import msgspec

from aios_actors.config.structs import AgentConfig, Budget, Config, ModelConfig, TaskConfig, WorkerConfig
from aios_actors.models import resolve
from aios_actors.nano.tasks import Task, held_out_tasks
from aios_actors.nano.words import Split
from aios_actors.nano.world import BUILT_IN, OTHERS, ToolSpec, lookup_key
from aios_actors.node import Node
from aios_actors.observe.events import TaskResult
from aios_actors.observe.logs import configure_logs
from aios_actors.sdk import Agent, Tool
from aios_actors.syscalls.errors import SyscallError
from scripts.bench.report import Row, add_arguments, report


class TaskSet(NamedTuple):
    """A set of held-out tasks: whether their tools are made up, how they are worded, and the share wanted, if any."""

    name: str
    unseen: bool
    split: Split
    wanted: float | None = None


SETS = (
    TaskSet("built-in tools", False, Split.HELD_OUT, 0.95),
    TaskSet("unseen tools", True, Split.HELD_OUT, 0.80),
    TaskSet("built-in tools, less usual wordings", False, Split.WIDER),
    TaskSet("unseen tools, less usual wordings", True, Split.WIDER),
)
REAL_TOOLS = BUILT_IN.keys() | {spec.name for spec in OTHERS}
"""Tools that the node itself has; the others are made up."""

GROUP = 64
"""Tasks that run on one node at the same time."""

TYPES: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}


class World(msgspec.Struct):
    """What an agent left behind."""

    answer: str
    files: dict[str, str]
    facts: list[str]


class Solver(Agent):
    """Sets its world up, solves its task, and reports what the world is then."""

    def __init__(self, task: Task) -> None:
        self.task = task

    async def run(self, task: str) -> World:
        for path, content in self.task.files.items():
            await self.storage.write(path, content)
        for fact in self.task.facts:
            await self.memory.add(fact)
        self.llm.system_prompt = self.task.system
        try:
            answer = await self.react(task)
        except SyscallError as error:
            answer = f"failed: {error}"
        files = {info.path: await self.storage.read(info.path) for info in await self.storage.list()}
        notes = [note for fact in self.task.checks.facts for note in await self.memory.search(fact, limit=50)]
        return World(answer, files, [note.text for note in notes])


class Scripted(Agent):
    """An agent that others ask; it answers from a table."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    async def run(self, task: str) -> str:
        return self.answers.get(task, "I cannot do that with my tools.")


def make_tool(spec: ToolSpec) -> Tool[..., Any]:
    """A tool that looks its answers up in the spec's table."""
    parameters = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=TYPES[each.kind],
            default=inspect.Parameter.empty if each.required else None,
        )
        for each in spec.parameters
    ]

    def look_up(**arguments: Any) -> str:
        given = {name: value for name, value in arguments.items() if value is not None}
        return spec.answers.get(lookup_key(given), "error: nothing known about these arguments")

    function: Any = look_up
    function.__doc__ = spec.description
    function.__signature__ = inspect.Signature(parameters, return_annotation=str)
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return Tool(function, name=spec.name)


def groups(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Tasks that can share a node: no two have a tool or an agent of the same name."""
    waiting = list(tasks)
    while waiting:
        group, rest, taken = list[Task](), list[Task](), set[str]()
        for task in waiting:
            names = {spec.name for spec in task.tools if spec.name not in REAL_TOOLS} | task.agents.keys()
            if len(group) < GROUP and not names & taken:
                group.append(task)
                taken |= names
            else:
                rest.append(task)
        yield group
        waiting = rest


def config_of(group: list[Task], module: ModuleType, options: argparse.Namespace) -> Config:
    """A config with an agent for each task, and for each agent that a task asks; the classes go into `module`."""
    agents: dict[str, AgentConfig] = {}
    for number, task in enumerate(group):
        name = f"solver{number}"
        own = [make_tool(spec) for spec in task.tools if spec.name not in REAL_TOOLS]
        setattr(module, name, type(name, (Solver,), {"tools": own}))
        agents[name] = AgentConfig(
            class_=f"{module.__name__}:{name}",
            tools=tuple(spec.name for spec in task.tools),
            delegates=("*",),
            options={"task": task},
            budget=Budget(seconds=300.0),
        )
        for agent, answers in task.agents.items():
            agents[agent] = AgentConfig(class_=f"{__name__}:Scripted", options={"answers": answers}, tools=())
    return Config(
        models={"nano": ModelConfig(source="embedded", path="")},
        workers=(WorkerConfig(model="nano", sequences=options.sequences),),
        agents=agents,
        tasks=tuple(TaskConfig(agent=f"solver{n}", input=task.input) for n, task in enumerate(group)),
    )


async def run_group(group: list[Task], options: argparse.Namespace) -> list[tuple[Task, TaskResult, bool]]:
    """Runs the tasks on a node of their own; True for those whose world is right afterwards."""
    module = ModuleType("nano_tasks_agents")
    sys.modules[module.__name__] = module
    config = config_of(group, module, options)
    model = options.model or resolve("nano", config.models["nano"], Path(), lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        async with Node(config, {"nano": model}, data=Path(folder)) as node:
            results = await node.run_tasks(lambda result: None)
    judged = []
    for task, result in zip(group, results, strict=True):
        world = msgspec.json.decode(result.answer or '{"answer": "", "files": {}, "facts": []}', type=World)
        judged.append((task, result, task.passes(world.answer, world.files, world.facts)))
    return judged


async def run_set(tasks: TaskSet, options: argparse.Namespace, tell: Callable[[str], None]) -> list[Row]:
    """One set of tasks; rows for the whole set and for each skill."""
    passed, total = Counter[str](), Counter[str]()
    tokens, seconds, turnaround = 0, 0.0, 0.0
    for group in groups(held_out_tasks(options.seed, options.tasks, tasks.unseen, tasks.split)):
        judged = await run_group(group, options)
        seconds += max(result.turnaround_s for _, result, _ in judged)
        for task, result, right in judged:
            total[task.skill] += 1
            passed[task.skill] += right
            tokens += result.tokens_out
            turnaround += result.turnaround_s
            if options.failures and not right:
                tell(f"{task.skill}: {task.input!r}\n  wanted {task.checks}\n  got {result.error or result.answer}")
    name, count = tasks.name, total.total()
    share = passed.total() / count
    ok = None if tasks.wanted is None else share >= tasks.wanted
    rows = [Row(f"{name}: solved of {count}", share, "share", "the truth", tasks.wanted, ok)]
    rows += [Row(f"{name}: {skill} (of {total[skill]})", passed[skill] / total[skill], "share") for skill in total]
    rows.append(Row(f"{name}: generated, up to {GROUP} agents at once", tokens / seconds, "tokens/s"))
    rows.append(Row(f"{name}: mean turnaround of a task", turnaround / count, "s"))
    return rows


def main() -> None:
    """Reads the command line, runs all sets, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=480, help="tasks of each set")
    parser.add_argument("--seed", type=int, default=1, help="which tasks are drawn")
    parser.add_argument(
        "--sequences", type=int, default=0, help="generations at the same time; 0 lets the engine choose"
    )
    parser.add_argument("--model", type=Path, help="another GGUF with the same template")
    parser.add_argument("--failures", action="store_true", help="print each task that was not solved")
    add_arguments(parser)
    options = parser.parse_args()
    if options.quick:
        options.tasks = 48
    configure_logs("error")
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr)  # noqa: E731
    rows = [row for tasks in SETS for row in anyio.run(run_set, tasks, options, tell)]
    report("nano_tasks", rows, options)


if __name__ == "__main__":
    main()
