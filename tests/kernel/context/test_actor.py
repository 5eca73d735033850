"""The context service behind the scheduler: fork, snapshot, restore, list, drop; what an agent's end takes along."""

import asyncio
from pathlib import Path

import pytest

from aios_actors.engine.messages import ChatMessage, TokenPrompt
from aios_actors.kernel.agents import RunTask
from aios_actors.kernel.context import ForgetOwner, Save, Sync
from aios_actors.kernel.context.store import ContextStore
from aios_actors.sdk import Agent
from aios_actors.syscalls.context import (
    DropContext,
    ForkContext,
    ListContexts,
    RestoreSnapshot,
    Snapshot,
    TakeSnapshot,
)
from aios_actors.syscalls.errors import InvalidArgument, NotFound
from aios_actors.syscalls.llm import Chat
from tests.kernel.fakes import MODEL, entry, running_kernel, said

HELD = Snapshot("main", MODEL, (1, 2, 3, 4), 2)


async def test_a_fork_goes_its_own_way(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: said("x", prompt=(1, 2, 3), tokens=(9,))) as kernel:
        ask = kernel.scheduler.ask
        await ask(RestoreSnapshot(HELD))
        await ask(ForkContext("main", "draft"))
        await ask(Chat((ChatMessage("user", "go on"),), model=MODEL, conversation="draft"))
        assert (await ask(TakeSnapshot("main"))).tokens == (1, 2, 3, 4)
        assert (await ask(TakeSnapshot("draft"))).tokens == (1, 2, 3, 9)
        assert [info.conversation for info in await ask(ListContexts())] == ["draft", "main"]


async def test_a_fork_is_continued_from_the_tokens_it_shares(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        await kernel.scheduler.ask(RestoreSnapshot(HELD))
        await kernel.scheduler.ask(ForkContext("main", "draft"))
        await kernel.scheduler.ask(Chat((), model=MODEL, conversation="draft"))
        request = kernel.engine.seen[-1]
        assert isinstance(request.prompt, TokenPrompt)
        assert (request.prompt.tokens, request.generated) == ((1, 2), (3, 4))


async def test_forks_and_drops_that_cannot_be_say_why(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        with pytest.raises(NotFound, match="no conversation 'main'"):
            await kernel.scheduler.ask(ForkContext("main", "draft"))
        with pytest.raises(NotFound, match="no conversation 'main'"):
            await kernel.scheduler.ask(DropContext())
        with pytest.raises(InvalidArgument, match="another name"):
            await kernel.scheduler.ask(ForkContext("main", "main"))
        with pytest.raises(InvalidArgument, match="generated is 5, of 4"):
            await kernel.scheduler.ask(RestoreSnapshot(Snapshot("main", MODEL, (1, 2, 3, 4), 5)))
        with pytest.raises(InvalidArgument, match="32 bits"):
            await kernel.scheduler.ask(RestoreSnapshot(Snapshot("main", MODEL, (1 << 40,), 0)))


async def test_a_snapshot_travels_as_bytes(tmp_path: Path) -> None:
    data = HELD.to_bytes()
    async with running_kernel(tmp_path) as kernel:
        await kernel.scheduler.ask(RestoreSnapshot(Snapshot.from_bytes(data)))
        assert await kernel.scheduler.ask(TakeSnapshot()) == HELD
    for bad in (b"", b"\x00", data[:-3], b"no snapshot", data.replace(b"snapshot-1", b"snapshot-9")):
        with pytest.raises(InvalidArgument, match=r"snapshot"):
            Snapshot.from_bytes(bad)


async def test_conversations_are_there_after_a_restart_of_the_kernel(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: said("x", prompt=(1, 2), tokens=(3,))) as kernel:
        await kernel.scheduler.ask(Chat((ChatMessage("user", "hi"),), model=MODEL))
    async with running_kernel(tmp_path) as kernel:
        (info,) = await kernel.scheduler.ask(ListContexts())
        assert (info.conversation, info.tokens, info.generated) == ("main", 3, 1)
        assert (await kernel.scheduler.ask(TakeSnapshot())).tokens == (1, 2, 3)


async def test_a_context_actor_that_crashed_has_lost_nothing(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        await kernel.scheduler.ask(RestoreSnapshot(HELD))
        context = kernel.actor("context")
        life = context.cell.life
        assert life is not None
        life.fail(RuntimeError("made to crash by a test"))
        while context.cell.life in (None, life) or context.cell.state != "running":
            await asyncio.sleep(0)
        assert await kernel.scheduler.ask(TakeSnapshot()) == HELD


async def test_switched_generations_of_an_earlier_node_are_forgotten(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        kernel.actor("context").tell(Save("job-7", "a", "main", MODEL, (1,), (2,), False))
        await kernel.actor("context").ask(Sync())
    async with running_kernel(tmp_path) as kernel:
        kernel.actor("context").tell(ForgetOwner("a"))
        await kernel.actor("context").ask(Sync())
        assert kernel.engine.seen == []
    assert _heads(tmp_path) == 0


async def test_the_conversations_of_a_made_agent_end_with_it(tmp_path: Path) -> None:
    class Maker(Agent):
        async def run(self, task: str) -> object:
            return await self.agents.ask(await self.agents.spawn("talker"), task)

    class Talker(Agent):
        async def run(self, task: str) -> object:
            await self.llm.ask(task)
            return [info.conversation for info in await self.context.list()]

    agents = {"maker": Maker, "talker": Talker}
    async with running_kernel(tmp_path, agents, entries={"maker": entry(delegates=["talker"])}) as kernel:
        finished = await kernel.actor("agents").ask(RunTask(0, "maker", "hi"))
        assert finished.answer == ["main"]
    assert _heads(tmp_path) == 0


def _heads(folder: Path) -> int:
    store = ContextStore(folder / "context.db")
    try:
        return len(store.heads())
    finally:
        store.close()
