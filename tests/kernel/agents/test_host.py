"""The agent host: pools, tasks one at a time, crashes, delegation, cycles, children, shutdown."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aios_actors.kernel.agents import EndTasks, Finished, RefuseTasks, RunTask
from aios_actors.sdk import Agent
from aios_actors.syscalls.agent import AskAgent
from aios_actors.syscalls.errors import AccessDenied, AgentFailed, NodeStopping, NotFound, WaitCycle
from tests.kernel.fakes import entry, running_kernel


class Echo(Agent):
    """Says what it hears."""

    async def run(self, task: str) -> str:
        if task == "fail":
            raise ValueError("no such thing")
        return f"{self.name}: {task}"


class Gate(Agent):
    """Waits until the test lets it through."""

    def __init__(self, gate: asyncio.Event, begun: list[str]) -> None:
        self._gate = gate
        self._begun = begun

    async def run(self, task: str) -> str:
        self._begun.append(f"{self.name} {task}")
        await self._gate.wait()
        return task


class Asker(Agent):
    """Asks the agent that the task names; "b c" asks b to ask c."""

    async def run(self, task: str) -> Any:
        first, _, rest = task.partition(" ")
        return await self.agents.ask(first, rest)


class Maker(Agent):
    """Makes an echo for its task."""

    async def run(self, task: str) -> list[str]:
        child = await self.agents.spawn("echo")
        answer = await self.agents.ask(child, task)
        return [answer, child, *(info.name for info in await self.agents.list())]


async def run(kernel: Any, kind: str, text: str, number: int = 0) -> Finished:
    finished: Finished = await kernel.actor("agents").ask(RunTask(number, kind, text))
    return finished


async def test_a_task_is_done_by_an_agent_of_its_kind(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"echo": Echo}) as kernel:
        finished = await run(kernel, "echo", "hi")
        assert (finished.agent, finished.answer, finished.error) == ("echo", "echo: hi", "")
        assert [event.state for event in kernel.events] == ["queued", "running", "done"]


async def test_a_pool_works_side_by_side_and_the_rest_waits(tmp_path: Path) -> None:
    gate, begun = asyncio.Event(), list[str]()
    config = entry(count=2, options={"gate": None, "begun": None})
    config.options.update(gate=gate, begun=begun)
    async with running_kernel(tmp_path, {"gate": Gate}, entries={"gate": config}) as kernel:
        tasks = [asyncio.ensure_future(run(kernel, "gate", str(n), n)) for n in range(3)]
        while len(begun) < 2:
            await asyncio.sleep(0)
        assert begun == ["gate-1 0", "gate-2 1"]
        gate.set()
        assert [task.answer for task in await asyncio.gather(*tasks)] == ["0", "1", "2"]
        assert begun[2].endswith(" 2")


async def test_an_agent_that_crashes_is_made_anew_and_its_asker_told_why(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"echo": Echo}) as kernel:
        for _ in range(20):
            finished = await run(kernel, "echo", "fail")
            assert finished.error == "agent 'echo' failed: ValueError: no such thing"
        assert (await run(kernel, "echo", "hi")).answer == "echo: hi"
        with pytest.raises(AgentFailed, match="no such thing"):
            await kernel.scheduler.ask(AskAgent("echo", "fail"))


async def test_an_agent_asks_only_its_delegates(tmp_path: Path) -> None:
    agents = {"a": Asker, "echo": Echo, "other": Echo}
    async with running_kernel(tmp_path, agents, entries={"a": entry(delegates=["echo"])}) as kernel:
        assert (await run(kernel, "a", "echo hi")).answer == "echo: hi"
        denied = await run(kernel, "a", "other hi")
        assert 'denied to "a"' in denied.error and "delegates in [agents.a]" in denied.error
        with pytest.raises(AccessDenied):
            await kernel.scheduler.ask(AskAgent("a", "other hi"))


async def test_an_unknown_agent_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"echo": Echo}) as kernel:
        with pytest.raises(NotFound, match='no agent named "ecko"; there are: echo'):
            await kernel.scheduler.ask(AskAgent("ecko", "hi"))


async def test_a_circle_of_waiting_is_refused_with_the_circle(tmp_path: Path) -> None:
    entries = {name: entry(delegates=["*"]) for name in "abc"}
    async with running_kernel(tmp_path, {name: Asker for name in "abc"}, entries=entries) as kernel:
        for task, circle in (("a", "a -> a"), ("b a", "a -> b -> a"), ("b c a", "a -> b -> c -> a")):
            finished = await run(kernel, "a", task)
            assert circle in finished.error, finished.error
        with pytest.raises(WaitCycle):
            await kernel.scheduler.ask(AskAgent("a", "b a"))


async def test_a_pool_whose_members_all_wait_for_the_pool_is_refused(tmp_path: Path) -> None:
    entries = {"a": entry(count=2, delegates=["a"])}
    async with running_kernel(tmp_path, {"a": Asker}, entries=entries) as kernel:
        both = await asyncio.gather(*(run(kernel, "a", "a a a", n) for n in range(2)))
        assert any("already waits for it: a-" in finished.error for finished in both)
        assert (await run(kernel, "a", "a echo")).error, "the pool works again"


async def test_a_pool_with_a_free_member_is_no_circle(tmp_path: Path) -> None:
    entries = {"a": entry(delegates=["a", "echo"], count=2)}
    async with running_kernel(tmp_path, {"a": Asker, "echo": Echo}, entries=entries) as kernel:
        assert (await run(kernel, "a", "a echo hi")).answer == "echo: hi"
        assert "a-1" in (await run(kernel, "a", "a a echo hi")).error


async def test_made_agents_end_with_their_makers_task(tmp_path: Path) -> None:
    agents = {"maker": Maker, "echo": Echo}
    async with running_kernel(tmp_path, agents, entries={"maker": entry(delegates=["echo"])}) as kernel:
        for number in (1, 2):
            answer, child, *all_agents = (await run(kernel, "maker", "hi")).answer
            assert (answer, child) == (f"{child}: hi", f"echo-{number + 1}")
            assert all_agents == ["maker", "echo", child]
        with pytest.raises(NotFound):
            await kernel.scheduler.ask(AskAgent("echo-2", "hi"))
        assert kernel.engine.forgotten == ["echo-2", "echo-3"]


async def test_a_cancelled_task_frees_its_agent(tmp_path: Path) -> None:
    gate, begun = asyncio.Event(), list[str]()
    config = entry(options={"gate": None, "begun": None})
    config.options.update(gate=gate, begun=begun)
    async with running_kernel(tmp_path, {"gate": Gate}, entries={"gate": config}) as kernel:
        first = asyncio.ensure_future(run(kernel, "gate", "first"))
        while not begun:
            await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert (await run(kernel, "gate", "second")).answer == "second"


async def test_a_task_over_its_seconds_ends_with_its_budget(tmp_path: Path) -> None:
    config = entry(budget={"seconds": 0.01}, options={"gate": None, "begun": None})
    config.options.update(gate=asyncio.Event(), begun=[])
    async with running_kernel(tmp_path, {"gate": Gate}, entries={"gate": config}) as kernel:
        assert " of 0.01; it is seconds in [agents.gate.budget]" in (await run(kernel, "gate", "x")).error


async def test_draining_lets_running_tasks_end_and_refuses_the_rest(tmp_path: Path) -> None:
    gate, begun = asyncio.Event(), list[str]()
    config = entry(options={"gate": None, "begun": None})
    config.options.update(gate=gate, begun=begun)
    async with running_kernel(tmp_path, {"gate": Gate}, entries={"gate": config}) as kernel:
        runs, waits = (asyncio.ensure_future(run(kernel, "gate", str(n), n)) for n in range(2))
        while not begun:
            await asyncio.sleep(0)
        await kernel.actor("agents").ask(RefuseTasks())
        with pytest.raises(NodeStopping, match="had not begun"):
            await waits
        with pytest.raises(NodeStopping):
            await run(kernel, "gate", "late")
        gate.set()
        assert (await runs).answer == "0"


async def test_ending_tasks_answers_them_all(tmp_path: Path) -> None:
    config = entry(options={"gate": None, "begun": None})
    begun: list[str] = []
    config.options.update(gate=asyncio.Event(), begun=begun)
    async with running_kernel(tmp_path, {"gate": Gate}, entries={"gate": config}) as kernel:
        runs = asyncio.ensure_future(run(kernel, "gate", "x"))
        while not begun:
            await asyncio.sleep(0)
        await kernel.actor("agents").ask(RefuseTasks())
        await kernel.actor("agents").ask(EndTasks())
        assert "before this task ended" in (await runs).error
