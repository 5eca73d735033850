"""What the kernel itself costs: syscalls of agents on a whole kernel whose engine is fake and answers at once.

Everything is real but the engine: scheduler, access check, forwarding, stores, accounting. The times are what an agent
sees, from its call to its answer. AIOS (commit 2155966), measured in the same way on another machine of this size,
takes 1.10 s for an LLM call that its model answers at once: its scheduler sleeps.

    python -m scripts.bench.kernel [--quick] [--json]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from aios_actors.kernel.agents import RunTask
from aios_actors.observe.logs import configure_logs
from aios_actors.sdk import Agent
from scripts.bench.report import Row, add_arguments, report
from tests.kernel.fakes import TestKernel, entry, running_kernel, said

AIOS_LLM_CALL_S = 1.10
AGENTS = 64


class Caller(Agent):
    """Makes the syscalls of one kind that its task names, one after the other, and returns their times in seconds."""

    async def run(self, task: str) -> list[float]:
        kind, count = task.split()
        call = self._calls()[kind]
        times = []
        for _ in range(int(count)):
            began = time.perf_counter()
            await call()
            times.append(time.perf_counter() - began)
        return times

    def _calls(self) -> dict[str, Callable[[], Awaitable[object]]]:
        return {
            "context.list": self.context.list,
            "calculator": lambda: self.tools.call("calculator", expression="6*7"),
            "llm.chat": lambda: self.llm.ask("hello"),
        }


async def times_of(kernel: TestKernel, kind: str, count: int) -> list[float]:
    """Times of `count` syscalls of one agent that is alone."""
    times: list[float] = (await kernel.actor("agents").ask(RunTask(0, "caller", f"{kind} {count}"))).answer
    return times


async def rate_of(kernel: TestKernel, kind: str, count: int) -> float:
    """Syscalls a second when all agents call at the same time."""
    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(AGENTS):
            group.start_soon(times_of, kernel, kind, count)
    return AGENTS * count / (time.perf_counter() - began)


async def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    count = 500 if options.quick else 5000
    entries = {"caller": entry(count=AGENTS, tools=["calculator"])}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        async with running_kernel(
            Path(folder), {"caller": Caller}, script=lambda request: said("hi"), places=AGENTS, entries=entries
        ) as kernel:
            for kind, wanted in (("context.list", 60e-6), ("calculator", None), ("llm.chat", 200e-6)):
                await times_of(kernel, kind, count // 10)
                p50 = statistics.median(await times_of(kernel, kind, count))
                ok = None if wanted is None else p50 <= wanted
                micro = None if wanted is None else wanted * 1e6
                rows.append(Row(f"{kind}, one agent, p50", p50 * 1e6, "us", "", micro, ok))
                if kind == "llm.chat":
                    rows.append(Row("llm.chat: how often faster", AIOS_LLM_CALL_S / p50, "ratio", "AIOS, 1.10 s"))
                rate = await rate_of(kernel, kind, max(count // AGENTS, 10))
                floor = 30_000.0 if kind == "context.list" else None
                rows.append(
                    Row(
                        f"{kind}, {AGENTS} agents", rate, "calls/s", "", floor, None if floor is None else rate >= floor
                    )
                )
    return rows


def main() -> None:
    """Reads the command line, measures, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args()
    configure_logs("error")
    report("kernel", anyio.run(measure, options), options)


if __name__ == "__main__":
    main()
