"""The scheduler under its policies, with a fake engine: who makes room, swapping, shares, budgets, estimates."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from aios_actors.config.structs import Budget, Config, RunConfig, SchedulerConfig
from aios_actors.engine.messages import ChatMessage, Sampling
from aios_actors.kernel.agents import Finished, RunTask
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.kernel.scheduler.messages import ListLines, SetPolicy
from aios_actors.kernel.scheduler.policies import POLICIES
from aios_actors.observe.state import RunTotals
from aios_actors.sdk import Agent, tool
from aios_actors.syscalls.errors import Busy, DeadlineInfeasible, InvalidArgument, NotFound
from aios_actors.syscalls.llm import Chat
from tests.kernel.fakes import MODEL, SetCapacity, entry, running_kernel, said, sliced, task_of
from tests.kernel.scheduler.test_actor import settled


def chat(text: str, **sampling: Any) -> Chat:
    return Chat((ChatMessage("user", text),), model=MODEL, sampling=Sampling(**sampling))


def under(policy: str, **fields: Any) -> Config:
    return Config(scheduler=SchedulerConfig(policy=policy, **fields))


async def run(kernel: Any, kind: str, text: str, number: int = 0) -> Finished:
    finished: Finished = await kernel.actor("agents").ask(RunTask(number, kind, text))
    return finished


class Asking(Agent):
    """Asks the LLM what its task says."""

    async def run(self, task: str) -> str:
        return await self.llm.ask(task)


class Repeating(Agent):
    """Asks the LLM as often as its task says, or calls the calculator that often, or makes that many agents."""

    tools = ["calculator"]

    async def run(self, task: str) -> str:
        what, times = task.split()
        for _ in range(int(times)):
            if what == "llm":
                await self.llm.ask("hi")
            elif what == "tool":
                await self.tools.call("calculator", expression="6*7")
            else:
                await self.agents.spawn("leaf")
        return "done"


class Making(Agent):
    """Makes two agents and asks both."""

    async def run(self, task: str) -> None:
        for _ in range(2):
            await self.agents.ask(await self.agents.spawn("leaf"), task)


class Handing(Agent):
    """Hands its task on to the agent that its first word names."""

    async def run(self, task: str) -> str:
        first, _, rest = task.partition(" ")
        answer: str = await self.agents.ask(first, rest)
        return answer


async def test_an_urgent_agent_takes_the_place_of_a_running_one(tmp_path: Path) -> None:
    entries = {"batch": entry(priority=0), "urgent": entry(priority=5)}
    agents: dict[str, type[Agent]] = {"batch": Asking, "urgent": Asking}
    async with running_kernel(
        tmp_path, agents, script=lambda request: None, places=1, config=under("priority"), entries=entries
    ) as kernel:
        engine = kernel.engine
        slow = asyncio.ensure_future(run(kernel, "batch", "slow"))
        await settled(lambda: len(engine.open) == 1)
        (first,) = engine.open
        urgent = asyncio.ensure_future(run(kernel, "urgent", "now", 1))
        await settled(lambda: engine.open and first not in engine.open)
        assert engine.preempted == [first]
        (second,) = engine.open
        engine.open.pop(second).send(said("urgent answer"))
        assert (await urgent).answer == "urgent answer"
        await settled(lambda: first in engine.open)
        engine.open.pop(first).send(said("slow answer"))
        finished = await slow
        assert (finished.answer, finished.account.usage.preemptions) == ("slow answer", 1)


@pytest.mark.parametrize(("policy", "told"), [("priority", [0, 5]), ("fair", [0, 0])])
async def test_a_worker_is_told_how_urgent_a_call_is_where_the_policy_goes_by_that(
    tmp_path: Path, policy: str, told: list[int]
) -> None:
    entries = {"batch": entry(priority=0), "urgent": entry(priority=5)}
    agents: dict[str, type[Agent]] = {"batch": Asking, "urgent": Asking}
    async with running_kernel(tmp_path, agents, config=under(policy), entries=entries) as kernel:
        for number, name in enumerate(agents):
            await run(kernel, name, "x", number)
        assert [request.priority for request in kernel.engine.seen] == told


async def test_the_policy_changes_under_load_and_no_call_is_lost(tmp_path: Path) -> None:
    def script(request: Generate) -> Outcome:
        done = len(request.generated) >= 12
        tokens = (*request.generated, *range(4))
        return said("end", tokens=tokens) if done else sliced(tokens)

    async with running_kernel(tmp_path, script=script, places=3, config=under("round_robin", slice=4)) as kernel:
        calls = [asyncio.ensure_future(kernel.scheduler.ask(chat(str(n)))) for n in range(60)]
        for name in (*POLICIES, *reversed(POLICIES)):
            await kernel.scheduler.ask(SetPolicy(MODEL, name))
            await asyncio.sleep(0)
        replies = await asyncio.gather(*calls)
        assert [reply.usage.tokens_out for reply in replies] == [16] * 60
        with pytest.raises(InvalidArgument, match=r'"lottery" is no policy; there are fifo, .*"module:Class"'):
            await kernel.scheduler.ask(SetPolicy(MODEL, "lottery"))
        with pytest.raises(InvalidArgument, match="no_such_module"):
            await kernel.scheduler.ask(SetPolicy(MODEL, "no_such_module:Lottery"))
        with pytest.raises(NotFound, match="qwen"):
            await kernel.scheduler.ask(SetPolicy("qwen", "fair"))


async def test_totals_of_agents_policies_and_the_run_add_up(tmp_path: Path) -> None:
    agents: dict[str, type[Agent]] = {"a": Repeating, "maker": Making, "leaf": Asking}
    async with running_kernel(tmp_path, agents, entries={"maker": entry(delegates=["leaf"])}) as kernel:
        await run(kernel, "a", "llm 3")
        await kernel.scheduler.ask(SetPolicy(MODEL, "fair"))
        await run(kernel, "a", "tool 2", 1)
        await run(kernel, "maker", "x", 2)
        (line,) = await kernel.scheduler.ask(ListLines())
        agents_used, run_used = kernel.accounts.totals()
    used = {each.agent: each for each in agents_used}
    assert (used["a"].tasks, used["a"].calls, used["a"].tokens_in, used["a"].tokens_out) == (2, 3, 9, 6)
    assert used["a"].tool_calls == 2
    assert (used["leaf-*"].tasks, used["leaf-*"].calls, used["leaf-*"].tokens_out) == (2, 2, 4)
    assert run_used == RunTotals(tokens=5 * 5, tool_calls=2, agents=2)
    assert (line.policy, line.waiting, line.running, line.places) == ("fair", 0, 0, 4)
    assert [(each.policy, each.calls) for each in line.policies] == [("fifo", 3), ("fair", 2)]


async def test_fair_shares_go_by_weight_and_an_agent_cannot_get_more_by_asking_others(tmp_path: Path) -> None:
    order: list[str] = []

    def script(request: Generate) -> Outcome:
        order.append(request.caller.partition("-")[0])
        return said("ok", tokens=(1,) * 8)

    class Fan(Agent):
        """Asks ten others at once."""

        async def run(self, task: str) -> None:
            await asyncio.gather(*(self.agents.ask(f"leaf-{n}", task) for n in range(1, 11)))

    class Sole(Agent):
        """Asks the LLM ten times at once."""

        async def run(self, task: str) -> None:
            await asyncio.gather(*(self.llm.chat(task, conversation=str(n)) for n in range(10)))

    entries = {"fan": entry(delegates=["leaf"]), "leaf": entry(count=10), "sole": entry()}
    agents: dict[str, type[Agent]] = {"fan": Fan, "leaf": Asking, "sole": Sole}
    async with running_kernel(tmp_path, agents, script, places=0, config=under("fair"), entries=entries) as kernel:
        tasks = [asyncio.ensure_future(run(kernel, kind, "x", n)) for n, kind in enumerate(("fan", "sole"))]
        states = kernel.events
        await settled(lambda: sum(event.state == "waiting" for event in states) >= 10)
        for _ in range(200):
            await asyncio.sleep(0)
        await kernel.actor("llm_core").ask(SetCapacity(MODEL, 1))
        for finished in await asyncio.gather(*tasks):
            assert finished.error == ""
    assert len(order) == 20
    assert 4 <= order[:10].count("leaf") <= 6


async def test_a_full_queue_tells_when_there_will_be_a_place(tmp_path: Path) -> None:
    config = Config(scheduler=SchedulerConfig(queue=1))
    first = iter([said("quick")])
    async with running_kernel(tmp_path, script=lambda r: next(first, None), places=1, config=config) as kernel:
        await kernel.scheduler.ask(chat("quick"))
        calls = [asyncio.ensure_future(kernel.scheduler.ask(chat(str(n)))) for n in range(2)]
        await settled(lambda: len(kernel.engine.open) == 1)
        with pytest.raises(Busy, match=r"try again in about .* s") as refused:
            await kernel.scheduler.ask(chat("too many"))
        assert refused.value.estimate_s is not None and 0 < refused.value.estimate_s < 5
        for call in calls:
            call.cancel()


async def test_a_call_that_cannot_make_its_deadline_is_refused_early(tmp_path: Path) -> None:
    class Hasty(Agent):
        """Tells of the refusal."""

        async def run(self, task: str) -> list[float]:
            with pytest.raises(DeadlineInfeasible, match="should be answered within 1e-06 s") as refused:
                await self.llm.ask(task)
            return [refused.value.deadline_s, refused.value.estimate_s]

    replies = iter([said("quick")])
    entries = {"hasty": entry(deadline_s=1e-6)}
    async with running_kernel(
        tmp_path, {"hasty": Hasty}, lambda r: next(replies, None), 1, under("deadline"), entries
    ) as kernel:
        await kernel.scheduler.ask(chat("quick"))
        slow = asyncio.ensure_future(kernel.scheduler.ask(chat("slow")))
        await settled(lambda: kernel.engine.open)
        deadline_s, estimate_s = (await run(kernel, "hasty", "x")).answer
        # A difference of two times on the node's clock, so exact to the smallest part that this clock can tell.
        resolution = math.ulp(asyncio.get_running_loop().time())
        assert deadline_s == pytest.approx(1e-6, abs=resolution) and estimate_s > deadline_s
        slow.cancel()


@pytest.mark.parametrize(
    ("budget", "task", "error"),
    [
        ({"tokens": 24}, "llm 9", "tokens 25 of 24"),
        ({"tool_calls": 2}, "tool 3", "tool_calls 3 of 2"),
        ({"agents": 1}, "agents 2", "agents 2 of 1"),
        ({"depth": 0}, "agents 1", "depth 1 of 0"),
    ],
)
@pytest.mark.parametrize("whose", ["agent", "run"])
async def test_a_task_over_its_budget_gets_an_error_that_says_which(
    tmp_path: Path, whose: str, budget: dict[str, int], task: str, error: str
) -> None:
    own = {"budget": budget} if whose == "agent" else {}
    config = Config(run=RunConfig(budget=Budget(**budget))) if whose == "run" else Config()
    entries = {"a": entry(delegates=["leaf"], **own), "leaf": entry()}
    agents: dict[str, type[Agent]] = {"a": Repeating, "leaf": Asking}
    async with running_kernel(tmp_path, agents, config=config, entries=entries) as kernel:
        finished = await run(kernel, "a", task)
        place = "[agents.a.budget]" if whose == "agent" else "[run.budget]"
        assert error in finished.error and place in finished.error
        few = await run(kernel, "leaf", "x", 1)
        assert (few.error == "") == (whose == "agent" or "tokens" not in budget)


async def test_what_an_agent_hands_on_counts_in_its_own_budget(tmp_path: Path) -> None:
    entries = {"boss": entry(delegates=["*"], budget={"tokens": 12}), "leaf": entry()}
    agents: dict[str, type[Agent]] = {"boss": Handing, "leaf": Repeating}
    async with running_kernel(tmp_path, agents, entries=entries) as kernel:
        assert (await run(kernel, "leaf", "llm 9")).error == ""
        assert "budget of 'boss' is used up: tokens" in (await run(kernel, "boss", "leaf llm 9")).error
        assert (await run(kernel, "boss", "leaf llm 1")).error == "", "each task has a budget of its own"


async def test_depth_limits_how_far_work_is_handed_on(tmp_path: Path) -> None:
    entries = {"a": entry(delegates=["*"], budget={"depth": 1}), "b": entry(delegates=["*"]), "leaf": entry()}
    agents: dict[str, type[Agent]] = {"a": Handing, "b": Handing, "leaf": Asking}
    async with running_kernel(tmp_path, agents, entries=entries) as kernel:
        assert (await run(kernel, "b", "a leaf x")).error == ""
        assert "depth 2 of 1" in (await run(kernel, "a", "b leaf x")).error


async def test_a_generation_stops_where_the_budget_ends(tmp_path: Path) -> None:
    def script(request: Generate) -> Outcome:
        assert request.slice > 0, "a generation without a bound could overrun the budget"
        return sliced((*request.generated, *range(request.slice)))

    entries = {"a": entry(budget={"tokens": 50})}
    async with running_kernel(tmp_path, {"a": Asking}, script, entries=entries) as kernel:
        assert "tokens 50 of 50" in (await run(kernel, "a", "x")).error
        assert len(kernel.engine.seen[-1].generated) + kernel.engine.seen[-1].slice == 47, "and 3 of the prompt"


async def test_seconds_of_the_run_end_tasks_and_free_what_they_held(tmp_path: Path) -> None:
    config = Config(run=RunConfig(budget=Budget(seconds=0.05)))
    async with running_kernel(tmp_path, {"a": Asking}, lambda request: None, config=config) as kernel:
        first, second = (asyncio.ensure_future(run(kernel, "a", "x", n)) for n in range(2))
        await settled(lambda: kernel.engine.open)
        for finished in (await first, await second):
            assert "budget of 'run' is used up: seconds 0.0" in finished.error
        await settled(lambda: len(kernel.engine.cancelled) == 1)
        assert task_of(kernel.engine.seen[0]) == "x" and len(kernel.engine.seen) == 1


async def test_while_an_agent_waits_for_a_slow_tool_the_engine_knows_for_how_long(tmp_path: Path) -> None:
    @tool
    async def slow() -> str:
        """Takes a while."""
        await asyncio.sleep(0.06)
        return "ok"

    class Slow(Agent):
        """Calls a slow tool twice, and a quick one."""

        tools = (slow, "calculator")

        async def run(self, task: str) -> None:
            for _ in range(2):
                await self.tools.call("slow")
                await self.tools.call("calculator", expression="1+1")

    async with running_kernel(tmp_path, {"a": Slow}) as kernel:
        assert (await run(kernel, "a", "x")).error == ""
        ((agent, seconds),) = kernel.engine.waits
    assert agent == "a" and 0.06 <= seconds < 5, "the first call's time; before it, nobody knows"
