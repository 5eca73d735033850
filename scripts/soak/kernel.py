"""Many seeded runs of the kernel on an engine that fails, stalls and dies, in virtual time and in a random order.

Scheduler, accounts, access, tools and the agent host are the real ones. Each seed draws a config, agents, budgets and
what they do; tasks are cancelled, policies swapped. After each run: every task and every syscall ended exactly once, no
token was lost or doubled, budgets hold, nothing is left in lines, accounts, workers or the context, and the runtime's
own invariants hold.

    python -m scripts.soak.kernel [--seeds 10000] [--first 0]
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aios_actors.actors import ActorSystem, DeadlineExceeded, Refusal
from aios_actors.actors.testing import simulate
from aios_actors.config.structs import AgentConfig, Budget, SchedulerConfig
from aios_actors.engine.messages import ChatMessage, Sampling
from aios_actors.kernel.access import Access, Rules
from aios_actors.kernel.accounts import Account, Accounts
from aios_actors.kernel.agents import AgentHost, Finished, RunTask
from aios_actors.kernel.kernel import KERNEL
from aios_actors.kernel.scheduler.actor import Scheduler
from aios_actors.kernel.scheduler.messages import SetPolicy
from aios_actors.kernel.scheduler.policies import POLICIES
from aios_actors.kernel.tool import Tool, ToolRegistry
from aios_actors.sdk import Agent, tool
from aios_actors.syscalls.llm import Chat
from scripts.soak.chaos import MODEL, PROMPT, Book, ChaoticCore, Shelf
from scripts.soak.command import run_seeds
from tests.kernel.fakes import kind_of

KINDS = ("worker", "helper")
PLACES = 4


@tool
async def nap(seconds: float) -> str:
    """Takes a while."""
    await asyncio.sleep(seconds)
    return "ok"


class Restless(Agent):
    """Does what chance says: LLM calls alone and several at once, tools, other agents; gives up on some of it."""

    tools: Any = (nap,)

    def __init__(self, draw: random.Random, counts: Counter[str]) -> None:
        self._draw = draw
        self._counts = counts

    async def run(self, task: str) -> str:
        for _ in range(self._draw.randrange(1, 4)):
            await self._counted(self._draw.choice([self._chat, self._fan, self._call, self._delegate, self._impatient]))
        if self._draw.random() < 0.05:
            raise RuntimeError("an error in the agent's own code")
        return "done"

    async def _counted(self, act: Any) -> None:
        self._counts["begun"] += 1
        try:
            await act()
        except Refusal as error:
            self._counts[type(error).__name__] += 1
            if self._draw.random() < 0.3:
                raise
        finally:
            self._counts["ended"] += 1

    async def _chat(self) -> None:
        await self.llm.chat("x", model=MODEL, max_tokens=self._draw.randrange(1, 60))

    async def _fan(self) -> None:
        calls = (self.llm.chat("x", model=MODEL, conversation=str(n)) for n in range(self._draw.randrange(2, 5)))
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _call(self) -> None:
        await self.tools.call("nap", seconds=self._draw.random())

    async def _delegate(self) -> None:
        name = "helper"
        if self._draw.random() < 0.5:
            name = await self.agents.spawn("helper")
        await self.agents.ask(name, "x")

    async def _impatient(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._draw.random() / 4):
                await self._chat()


def drawn_budget(draw: random.Random) -> Budget:
    """Limits that some runs meet."""

    def maybe(low: int, high: int) -> int | None:
        return draw.randrange(low, high) if draw.random() < 0.3 else None

    return Budget(
        tokens=maybe(20, 400),
        seconds=draw.uniform(0.5, 20) if draw.random() < 0.3 else None,
        tool_calls=maybe(0, 3),
        agents=maybe(0, 3),
        depth=maybe(0, 3),
    )


def soak(seeds: Iterable[int]) -> Counter[str]:
    """Runs all seeds. Returns how often what happened to the agents' syscalls, so that one sees what was tried.

    Raises:
        SimulationFailed: a run broke a promise; it names the seed.
    """
    counts = Counter[str]()
    simulate(lambda system: scenario(system, counts), seeds, supervision=KERNEL)
    return counts


async def scenario(system: ActorSystem, total: Counter[str]) -> None:
    """One run; the system's name is its seed."""
    draw = random.Random(system.name)
    run_budget = drawn_budget(draw) if draw.random() < 0.3 else Budget()
    accounts, book, counts, closed = Watched(budget=run_budget), Book(), Counter[str](), list[Account]()
    accounts.closed = closed
    config = SchedulerConfig(slice=draw.randrange(2, 40), queue=draw.choice([2, 50]), ageing_s=draw.uniform(0.1, 10))
    policies = {MODEL: draw.choice(sorted(POLICIES))}
    agents = {name: agent_config(draw, counts) for name in KINDS}
    kinds = {name: kind_of(system, name, Restless, entry) for name, entry in agents.items()}
    await system.spawn(Access, Rules(), name="access")
    await system.spawn(Shelf, name="context")
    await system.spawn(Tool, ToolRegistry([nap]), name="tool")
    await system.spawn(Scheduler, config, policies, accounts, name="scheduler")
    core = random.Random(draw.random())
    await system.spawn(ChaoticCore, core, draw.randint(1, PLACES), accounts, book, name="llm_core")
    await system.spawn(AgentHost, kinds, accounts, name="agents")

    tasks = [asyncio.ensure_future(run_task(system, n, draw)) for n in range(draw.randrange(2, 7))]
    tasks += [asyncio.ensure_future(operate(system, draw)) for _ in range(draw.randrange(3))]
    for name in draw.sample(sorted(POLICIES), 2):
        await asyncio.sleep(draw.random())
        await system.actor_of("scheduler").ask(SetPolicy(MODEL, name))
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert ended is None or isinstance(ended, Refusal | asyncio.CancelledError), ended
    await asyncio.sleep(60.0)  # what was cancelled has let go of everything by then
    check(system, accounts, book, counts, closed)
    total += counts


class Watched(Accounts):
    """Accounts that keep those which are closed, to look at them afterwards."""

    closed: list[Account]

    def end(self, agent: str, error: str = "") -> Account:
        self.closed.append(super().end(agent, error))
        return self.closed[-1]


def agent_config(draw: random.Random, counts: Counter[str]) -> AgentConfig:
    """An agent's entry."""
    return AgentConfig(
        class_="soak:Restless",
        delegates=("helper",),
        count=draw.randrange(1, 3),
        budget=drawn_budget(draw),
        priority=draw.randrange(3),
        weight=draw.choice([1.0, 2.0]),
        deadline_s=draw.choice([None, 0.5, 30.0]),
        options={"draw": random.Random(draw.random()), "counts": counts},
    )


async def run_task(system: ActorSystem, number: int, draw: random.Random) -> None:
    """A task of the run; one in five is cancelled."""
    asking = asyncio.ensure_future(system.actor_of("agents").ask(RunTask(number, draw.choice(KINDS), "x")))
    if draw.random() < 0.2:
        await asyncio.wait([asking], timeout=draw.random() * 3)
        asking.cancel()
        await asyncio.wait([asking])
        return
    finished = await asking
    assert isinstance(finished, Finished) and (finished.answer == "done") == (finished.error == ""), finished


async def operate(system: ActorSystem, draw: random.Random) -> None:
    """A call of the operator, perhaps with a deadline."""
    call = Chat((ChatMessage("user", "x"),), model=MODEL, sampling=Sampling(max_tokens=30))
    try:
        await system.actor_of("scheduler").ask(call, timeout=draw.choice([None, draw.random()]))
    except DeadlineExceeded:
        return


def check(system: ActorSystem, accounts: Accounts, book: Book, counts: Counter[str], closed: list[Account]) -> None:
    """What must hold at the end. Raises AssertionError."""
    assert not book.wrong, book.wrong
    assert all(times <= 1 for times in book.ended.values()), book.ended
    assert counts["begun"] == counts["ended"]
    assert not book.running
    scheduler, shelf = (actor_named(system, name) for name in ("scheduler", "context"))
    line = scheduler._lines[MODEL]
    assert not scheduler._jobs and not line.running and line.leaving is None and len(line.policy) == 0, line
    assert not shelf.kept, shelf.kept
    assert accounts.run.granted == 0
    for account in (*closed, accounts.run):
        assert account.granted == 0, account
        for what, used in account.used.items():
            limit = getattr(account.budget, what)
            # Of tokens, each call under way can go beyond by its prompt and one token.
            beyond = PLACES * (len(PROMPT) + 1) if what == "tokens" else 0
            assert limit is None or used <= limit + beyond, account
    of_tasks = [account for account in closed if account.task is not None]
    for what, used in accounts.run.used.items():
        assert used >= sum(account.used[what] for account in of_tasks), what


def actor_named(system: ActorSystem, name: str) -> Any:
    """The actor itself, to look inside."""
    life = system.actor_of(name).cell.life
    assert life is not None, f"{name} is dead"
    return life.actor


if __name__ == "__main__":
    run_seeds(__doc__, soak, 10_000)
