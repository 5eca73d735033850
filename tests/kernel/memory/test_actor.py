"""The memory actor: identity, the cache before the file, restart, and what is left after a stop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aios_actors.actors import Actor, ActorRef, ActorSystem, Message, StartFailed, handler
from aios_actors.kernel.memory import Memory
from aios_actors.kernel.memory.store import MemoryStore
from aios_actors.syscalls.errors import AccessDenied, InvalidArgument, NotFound
from aios_actors.syscalls.memory import Add, Get, Note, Remove, Search, Update


class Send(Message[object], frozen=True):
    """Have the actor ask `target` for `call`."""

    target: ActorRef
    call: Message[object]


class Caller(Actor):
    """Sends what it is told to, under its own identity."""

    @handler
    async def send(self, message: Send) -> object:
        return await message.target.ask(message.call)


class Agents(Actor):
    """The parent of all agents."""

    async def started(self) -> None:
        for name in ("ann", "bob"):
            await self.spawn(Caller, name=name)


class Stage:
    """A memory actor and two agents."""

    def __init__(self, system: ActorSystem, memory: ActorRef) -> None:
        self.system = system
        self.memory = memory

    async def ask(self, agent: str, call: Message[object]) -> object:
        return await self.system.actor_of(f"agents/{agent}").ask(Send(self.memory, call))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with ActorSystem("test") as system:
        await system.spawn(Agents, name="agents")
        yield Stage(system, await system.spawn(Memory, tmp_path / "memory.db", cache=2, name="memory"))


async def test_each_agent_has_its_own_notes(stage: Stage) -> None:
    note = await stage.ask("ann", Add("the door code is 8342", ("code",)))
    assert isinstance(note, Note)
    assert await stage.ask("ann", Get(note.id)) == note
    assert [found.id for found in await stage.ask("ann", Search("door code"))] == [note.id]
    assert await stage.ask("bob", Search("door code")) == ()
    for call in (Get(note.id), Update(note.id, "x"), Remove(note.id)):
        with pytest.raises(NotFound, match=f"bob has no note {note.id}"):
            await stage.ask("bob", call)
    assert await stage.ask("bob", Get(note.id, owner="ann")) == note
    assert len(await stage.ask("bob", Search("door", owner="ann"))) == 1


async def test_calls_from_outside_are_the_operators(stage: Stage) -> None:
    note = await stage.memory.ask(Add("mine"))
    assert await stage.memory.ask(Get(note.id, owner="operator")) == note
    stranger = await stage.system.spawn(Caller, name="stranger")
    with pytest.raises(AccessDenied, match="actor /stranger is no agent"):
        await stranger.ask(Send(stage.memory, Add("x")))


async def test_the_cache_never_shows_what_is_old(stage: Stage) -> None:
    note = await stage.ask("ann", Add("one"))
    assert isinstance(note, Note)
    await stage.ask("ann", Get(note.id))
    changed = await stage.ask("ann", Update(note.id, "two"))
    assert await stage.ask("ann", Get(note.id)) == changed
    await stage.ask("ann", Remove(note.id))
    with pytest.raises(NotFound):
        await stage.ask("ann", Get(note.id))


async def test_cached_notes_need_no_file(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    note = await stage.memory.ask(Add("one"))
    reads: list[int] = []
    read = MemoryStore.get

    def counted(self: MemoryStore, owner: str, id: int) -> Note:
        reads.append(id)
        return read(self, owner, id)

    monkeypatch.setattr(MemoryStore, "get", counted)
    assert await stage.memory.ask(Get(note.id)) == note
    assert reads == []
    for number in range(3):
        await stage.memory.ask(Add(f"other {number}"))
    assert await stage.memory.ask(Get(note.id)) == note
    assert len(reads) <= 1


async def test_a_cancelled_change_leaves_nothing_stale(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    note = await stage.memory.ask(Add("old"))
    inside, gate = threading.Event(), threading.Event()
    update = MemoryStore.update

    def slow(self: MemoryStore, owner: str, id: int, text: str, tags: tuple[str, ...] | None = None) -> Note:
        inside.set()
        gate.wait()
        return update(self, owner, id, text, tags)

    monkeypatch.setattr(MemoryStore, "update", slow)
    change = asyncio.create_task(stage.memory.ask(Update(note.id, "new")))
    await asyncio.to_thread(inside.wait)
    change.cancel()
    look = asyncio.create_task(stage.memory.ask(Get(note.id)))
    await asyncio.sleep(0)
    gate.set()
    assert (await look).text == "new"


async def test_a_bad_request_is_a_reply_and_no_crash(stage: Stage) -> None:
    calls: list[tuple[Message[object], str]] = [
        (Add(""), "text is empty"),
        (Add(5), "text should be a string, not int"),
        (Add("x", 5), "tags should be a list of strings, not 5"),
        (Add("x", "tag"), "tags should be a list of strings, not 'tag'"),
        (Add("x", ([],)), "tag should be a string, not list"),
        (Get([1]), r"id should be the number of a note, not \[1\]"),
        (Get(1, owner="\ud800"), "owner has a lone surrogate"),
        (Get(1, owner=5), "owner should be a string, not int"),
        (Update("1", "x"), "id should be the number of a note, not '1'"),
        (Remove(None), "id should be the number of a note, not None"),
        (Search(5), "query should be a string, not int"),
        (Search("x", "5"), "limit should be 1 to 100, not '5'"),
    ]
    for call, message in calls:
        with pytest.raises(InvalidArgument, match=message):
            await stage.memory.ask(call)
    assert (await stage.memory.ask(Add("x"))).text == "x"


async def test_a_new_node_finds_what_was_stored_and_nothing_is_left_of_the_old(tmp_path: Path) -> None:
    async with ActorSystem("one") as system:
        memory = await system.spawn(Memory, tmp_path / "memory.db", name="memory")
        note = await memory.ask(Add("the door code is 8342"))
    assert not any(thread.name.startswith("memory") for thread in threading.enumerate())
    assert not (tmp_path / "memory.db-wal").exists()
    async with ActorSystem("two") as system:
        memory = await system.spawn(Memory, tmp_path / "memory.db", name="memory")
        assert await memory.ask(Get(note.id)) == note
        assert [found.id for found in await memory.ask(Search("code"))] == [note.id]


async def test_a_kill_closes_the_file_too(tmp_path: Path) -> None:
    async with ActorSystem("one") as system:
        memory = await system.spawn(Memory, tmp_path / "memory.db", name="memory")
        note = await memory.ask(Add("kept"))
        memory.kill()
        await memory.join()
        again = await system.spawn(Memory, tmp_path / "memory.db", name="memory-2")
        assert await again.ask(Get(note.id)) == note


async def test_a_crash_loses_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    note = await stage.memory.ask(Add("kept"))

    def crash(*args: object) -> None:
        raise RuntimeError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "search", crash)
        with pytest.raises(Exception, match="memory"):
            await stage.memory.ask(Search("x"))
    assert await stage.memory.ask(Get(note.id)) == note


async def test_a_file_that_cannot_be_used_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "memory.db").write_text("no database " * 1000)
    async with ActorSystem("test") as system:
        with pytest.raises(StartFailed) as error:
            await system.spawn(Memory, tmp_path / "memory.db", name="memory")
    assert "not a database" in str(error.value.__cause__)
    assert not any(thread.name.startswith("memory") for thread in threading.enumerate())
