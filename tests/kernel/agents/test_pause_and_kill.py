"""Pause, resume and kill, of an agent and of a run, at any moment: what is held, what is freed, who is told."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from aios_actors.actors.testing import ManualClock
from aios_actors.kernel.agents import Finished, Kill, Pause, Resume, RunTask
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.kernel.scheduler.actor import Scheduler
from aios_actors.sdk import Agent, tool
from aios_actors.syscalls.agent import AskAgent, ListAgents
from aios_actors.syscalls.errors import AgentKilled, NotFound, SyscallError
from tests.kernel.fakes import TestKernel, entry, running_kernel, said, sliced, task_of


class Talker(Agent):
    """Asks the LLM once."""

    async def run(self, task: str) -> str:
        return await self.llm.ask(task)


class Noter(Agent):
    """Asks the LLM, and then remembers what it said."""

    async def run(self, task: str) -> str:
        answer = await self.llm.ask(task)
        return (await self.memory.add(answer)).text


class Maker(Agent):
    """Hands its task to an agent that it makes."""

    async def run(self, task: str) -> str:
        return await self.agents.ask(await self.agents.spawn("talker"), task)  # type: ignore[no-any-return]


def never(request: Generate) -> Outcome | None:
    """A generation that the test answers."""
    return None


def start(kernel: TestKernel, kind: str, text: str, number: int = 0) -> "asyncio.Task[Finished]":
    async def run() -> Finished:
        finished: Finished = await kernel.actor("agents").ask(RunTask(number, kind, text))
        return finished

    return asyncio.ensure_future(run())


async def settled(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


async def idle() -> None:
    """Lets everything run that can."""
    for _ in range(200):
        await asyncio.sleep(0)


async def control(kernel: TestKernel, message: Pause | Resume | Kill) -> None:
    await kernel.actor("agents").ask(message)


def scheduler_of(kernel: TestKernel) -> Scheduler:
    life = kernel.scheduler.cell.life
    assert life is not None and isinstance(life.actor, Scheduler)
    return life.actor


def assert_all_free(kernel: TestKernel) -> None:
    """No place is taken, nothing waits, nobody works."""
    scheduler = scheduler_of(kernel)
    assert not scheduler._jobs
    assert all(not line.running and not len(line.policy) for line in scheduler._lines.values())
    assert not scheduler._quiet and not scheduler._held
    stashed = kernel.scheduler.cell.life and kernel.scheduler.cell.life.stashed
    assert not stashed
    host: Any = kernel.actor("agents").cell.life
    assert all(hosted.busy is None and not hosted.children for hosted in host.actor._agents.values())


async def test_a_paused_generation_leaves_its_worker_and_goes_on_with_its_tokens(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"talker": Talker}, script=never, places=1) as kernel:
        task = start(kernel, "talker", "hi")
        await settled(lambda: kernel.engine.open)
        kernel.engine.open.pop(1).send(sliced((4, 5)))
        await settled(lambda: kernel.engine.open)
        await control(kernel, Pause("talker"))
        assert kernel.engine.preempted == [1] and not kernel.engine.open
        await idle()
        assert len(kernel.engine.seen) == 2, "a paused agent gets no worker"
        await control(kernel, Resume("talker"))
        await settled(lambda: kernel.engine.open)
        assert (kernel.engine.seen[-1].id, kernel.engine.seen[-1].generated) == (1, ())
        kernel.engine.open.pop(1).send(said("hello"))
        assert (await task).answer == "hello"
        assert_all_free(kernel)


async def test_others_go_on_and_get_the_place_of_a_paused_agent(tmp_path: Path) -> None:
    agents = {"talker": Talker, "other": Talker}
    async with running_kernel(tmp_path, agents, script=never, places=1) as kernel:
        first, second = start(kernel, "talker", "a"), start(kernel, "other", "b", 1)
        await settled(lambda: kernel.engine.open)
        await control(kernel, Pause("talker"))
        await settled(lambda: kernel.engine.open)
        assert task_of(kernel.engine.seen[-1]) == "b"
        kernel.engine.open.popitem()[1].send(said("b"))
        assert (await second).answer == "b"
        assert not first.done()
        await control(kernel, Resume("talker"))
        await settled(lambda: kernel.engine.open)
        kernel.engine.open.popitem()[1].send(said("a"))
        assert (await first).answer == "a"
        assert_all_free(kernel)


async def test_a_resumed_agent_has_kept_its_place_in_the_line(tmp_path: Path) -> None:
    agents = {name: Talker for name in ("first", "second", "third")}
    async with running_kernel(tmp_path, agents, script=never, places=1) as kernel:
        tasks = []
        for number, name in enumerate(agents):
            tasks.append(start(kernel, name, name, number))
            await idle()
        await control(kernel, Pause("second"))
        await control(kernel, Resume("second"))
        for _ in tasks:
            await settled(lambda: kernel.engine.open)
            kernel.engine.open.popitem()[1].send(said("ok"))
        await asyncio.gather(*tasks)
        assert [task_of(request) for request in kernel.engine.seen] == ["first", "second", "third"]


async def test_what_a_paused_agent_asks_for_waits_until_it_goes_on(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"noter": Noter}, script=never) as kernel:
        task = start(kernel, "noter", "hi")
        await settled(lambda: kernel.engine.open)
        scheduler_of(kernel)._held.add("noter")  # the answer and the pause cross
        kernel.engine.open.popitem()[1].send(said("noted"))
        await idle()
        assert not task.done()
        await control(kernel, Pause("noter"))
        await control(kernel, Resume("noter"))
        assert (await task).answer == "noted"
        assert_all_free(kernel)


async def test_a_paused_run_begins_no_task_and_a_resumed_one_does(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"talker": Talker}) as kernel:
        await control(kernel, Pause())
        task = start(kernel, "talker", "hi")
        await idle()
        assert not task.done() and not kernel.engine.seen
        await control(kernel, Resume())
        assert (await task).answer == "done"


async def test_agents_that_a_paused_agent_made_are_paused_with_it(tmp_path: Path) -> None:
    entries = {"maker": entry(delegates=["talker"])}
    agents = {"maker": Maker, "talker": Talker}
    async with running_kernel(tmp_path, agents, script=never, entries=entries) as kernel:
        task = start(kernel, "maker", "hi")
        await settled(lambda: kernel.engine.open)
        await control(kernel, Pause("maker"))
        assert not kernel.engine.open
        await control(kernel, Resume("maker"))
        await settled(lambda: kernel.engine.open)
        kernel.engine.open.popitem()[1].send(said("from the child"))
        assert (await task).answer == "from the child"
        assert_all_free(kernel)


async def test_budgets_of_time_stand_still_while_paused(tmp_path: Path) -> None:
    clock = ManualClock()
    entries = {"talker": entry(budget={"seconds": 10})}
    async with running_kernel(tmp_path, {"talker": Talker}, script=never, entries=entries, clock=clock) as kernel:
        task = start(kernel, "talker", "hi")
        await settled(lambda: kernel.engine.open)
        await clock.advance(6)
        await control(kernel, Pause("talker"))
        await clock.advance(100)
        await idle()
        assert not task.done()
        await control(kernel, Resume("talker"))
        await clock.advance(3)
        await idle()
        assert not task.done()
        await clock.advance(2)
        assert "budget of 'talker' is used up: seconds" in (await task).error
        await idle()
        assert_all_free(kernel)


async def test_who_waits_for_a_killed_agent_gets_a_typed_error(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"talker": Talker}, script=never) as kernel:
        of_the_run = start(kernel, "talker", "hi")
        await settled(lambda: kernel.engine.open)
        await control(kernel, Kill("talker"))
        assert (await of_the_run).error == "agent 'talker' was killed"
        asked = asyncio.ensure_future(kernel.scheduler.ask(AskAgent("talker", "a")))
        await settled(lambda: len(kernel.engine.seen) == 2)
        queued = asyncio.ensure_future(kernel.scheduler.ask(AskAgent("talker", "b")))
        await idle()
        await control(kernel, Kill("talker"))
        with pytest.raises(AgentKilled):
            await asked
        await settled(lambda: len(kernel.engine.seen) == 3)
        assert len(kernel.engine.cancelled) == 2
        kernel.engine.open.popitem()[1].send(said("fresh"))
        assert await queued == "fresh"
        assert_all_free(kernel)


async def test_killing_a_run_ends_all_tasks_and_made_agents(tmp_path: Path) -> None:
    entries = {"maker": entry(delegates=["talker"]), "talker": entry(count=2)}
    agents = {"maker": Maker, "talker": Talker}
    async with running_kernel(tmp_path, agents, script=never, entries=entries, places=2) as kernel:
        tasks = [start(kernel, "maker", "m"), *(start(kernel, "talker", str(n), n) for n in range(1, 5))]
        await settled(lambda: len(kernel.engine.open) == 2)
        await control(kernel, Kill())
        for task in tasks:
            try:
                assert "the run was killed" in (await task).error
            except AgentKilled as error:  # a task that had not begun has no account
                assert "the run was killed" in str(error)
        await idle()
        assert_all_free(kernel)
        names = [info.name for info in await kernel.scheduler.ask(ListAgents())]
        assert names == ["maker", "talker-1", "talker-2"]


async def test_an_agent_that_ignores_its_cancellation_is_replaced(tmp_path: Path) -> None:
    class Stubborn(Agent):
        async def run(self, task: str) -> str:
            try:
                return await self.llm.ask(task)
            except asyncio.CancelledError:
                return await self.llm.ask("still here")

    async with running_kernel(tmp_path, {"stubborn": Stubborn}, script=never) as kernel:
        task = start(kernel, "stubborn", "one")
        await settled(lambda: kernel.engine.open)
        await control(kernel, Kill("stubborn"))
        assert "was killed" in (await task).error
        second = start(kernel, "stubborn", "two", 1)
        await settled(lambda: any(task_of(request) == "two" for request in kernel.engine.seen))
        kernel.engine.open.popitem()[1].send(said("fine"))
        assert (await second).answer == "fine"


async def test_a_killed_agent_frees_its_tool(tmp_path: Path) -> None:
    ended: list[str] = []

    @tool(parallel=1)
    async def wait(name: str) -> str:
        """Waits."""
        try:
            if name == "first":
                await asyncio.Event().wait()
            return name
        finally:
            ended.append(name)

    class Waiter(Agent):
        tools = [wait]

        async def run(self, task: str) -> Any:
            return await self.tools.call("wait", name=task)

    async with running_kernel(tmp_path, {"waiter": Waiter}, entries={"waiter": entry(count=2)}) as kernel:
        first, second = start(kernel, "waiter", "first"), start(kernel, "waiter", "second", 1)
        await idle()
        await control(kernel, Kill("waiter-1"))
        assert "was killed" in (await first).error
        assert (await second).answer == "second"
        assert ended == ["first", "second"]


async def test_an_unknown_agent_is_an_error_with_those_there_are(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, {"talker": Talker}) as kernel:
        for message in (Pause("nobody"), Resume("nobody"), Kill("nobody")):
            with pytest.raises(NotFound, match='no agent named "nobody"; there are: talker'):
                await control(kernel, message)


@pytest.mark.parametrize("seed", range(40))
async def test_at_any_moment_nothing_hangs_and_all_is_free_in_the_end(seed: int, tmp_path: Path) -> None:
    """Random pauses, kills and answers among agents that ask each other; then everything goes on to its end."""
    dice = random.Random(seed)

    class Busy(Agent):
        async def run(self, task: str) -> str:
            for _ in range(dice.randrange(1, 4)):
                await self.llm.ask(task)
                await self.memory.add(task)
            if task == "deep":
                await self.agents.ask(await self.agents.spawn("worker"), "shallow")
                await self.agents.ask("worker", "shallow")
            return task

    agents = {"boss": Busy, "worker": Busy}
    entries = {"boss": entry(count=2, delegates=["worker"]), "worker": entry(count=2)}
    async with running_kernel(tmp_path, agents, script=never, entries=entries, places=2) as kernel:
        engine = kernel.engine
        tasks = [start(kernel, dice.choice(["boss", "worker"]), "shallow", n) for n in range(4)]
        tasks += [start(kernel, "boss", "deep", n) for n in range(4, 8)]
        controls = []
        names = ["", "boss-1", "boss-2", "worker-1", "worker-2", "worker-3"]
        for _ in range(60):
            for _ in range(dice.randrange(8)):
                await asyncio.sleep(0)
            if engine.open and dice.random() < 0.6:
                reply = engine.open.pop(dice.choice(list(engine.open)))
                reply.send(dice.choice([said("ok"), sliced((4,)), said("ok")]))
            elif dice.random() < 0.5:
                message = dice.choice([Pause, Pause, Resume, Resume, Kill])(dice.choice(names))
                controls.append(asyncio.ensure_future(control(kernel, message)))
        await idle()
        await control(kernel, Resume())
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            while engine.open:
                engine.open.popitem()[1].send(said("ok"))
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, Finished | SyscallError), outcome
        for outcome in await asyncio.gather(*controls, return_exceptions=True):
            assert outcome is None or isinstance(outcome, NotFound), outcome
        await idle()
        assert_all_free(kernel)
