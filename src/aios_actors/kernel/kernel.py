"""The kernel's supervision tree, as data: which actors there are, in which order they start, and what a crash restarts.

Each kernel actor is a child of the node's actor system, found by its name. They start left to right and stop right to
left, so that agents end before what they use. A kernel actor that crashes is started anew by itself: the others find
it by its ref, which stays valid, and whoever waited for it gets a typed error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aios_actors.actors import ChildSpec, SupervisorSpec
from aios_actors.config.structs import Config
from aios_actors.engine.spec import WorkerSpec
from aios_actors.kernel.access import Access, Rules
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.agents import AgentHost, AgentKind
from aios_actors.kernel.context import Context
from aios_actors.kernel.journal import Journal
from aios_actors.kernel.llm_core import LlmCore
from aios_actors.kernel.memory import Memory
from aios_actors.kernel.scheduler.actor import Scheduler
from aios_actors.kernel.storage import Storage
from aios_actors.kernel.tool import Tool, ToolRegistry

KERNEL = SupervisorSpec(strategy="one_for_one", intensity=10, period_s=10.0)


def kernel_specs(
    config: Config,
    workers: Sequence[WorkerSpec],
    kinds: Mapping[str, AgentKind],
    tools: ToolRegistry,
    accounts: Accounts,
    data: Path,
    sockets: Path,
    journal: Journal | None = None,
) -> tuple[ChildSpec, ...]:
    """The kernel actors in order of start.

    Args:
        config: the node's config.
        workers: what worker processes there are to be; `name` is the model's.
        kinds: the config's agents.
        tools: all tools that there are.
        accounts: where the kernel keeps each agent's use.
        data: folder of the databases.
        sockets: folder for the workers' sockets.
        journal: of the run, if it has one.
    """
    logs = ("--log-level", config.node.log_level, "--log-format", config.node.log_format)
    scheduling = config.scheduler
    policies = {worker.name: scheduling.policies.get(worker.name, scheduling.policy) for worker in workers}

    def child(name: str, factory: type, *args: object) -> ChildSpec:
        return ChildSpec(name=name, factory=factory, args=args, restart="permanent")

    return (
        child("access", Access, Rules(config.groups)),
        child("context", Context, data / "context.db", config.context.memory, config.context.eviction),
        child("memory", Memory, data / "memory.db", config.memory.cache, config.memory.notes),
        child("storage", Storage, data / "storage.db", config.storage.bytes),
        child("tool", Tool, tools),
        child("scheduler", Scheduler, scheduling, policies, accounts, set[str](), journal),
        child("llm_core", LlmCore, workers, sockets, accounts, config.node.hang_s, logs),
        child("agents", AgentHost, kinds, accounts, journal),
    )
