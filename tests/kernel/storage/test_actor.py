"""The storage actor: identity, every operation, order, restart, and the death of the whole process."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aios_actors.actors import ActorRef, ActorSystem
from aios_actors.kernel.memory import Memory
from aios_actors.kernel.storage import FileStore, Storage
from aios_actors.syscalls.errors import DataUnavailable, InvalidArgument, NotFound, QuotaExceeded
from aios_actors.syscalls.memory import Search
from aios_actors.syscalls.storage import Append, Create, Delete, History, ListFiles, Read, Rollback, Write


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[ActorRef]:
    async with ActorSystem("test") as system:
        yield await system.spawn(Storage, tmp_path / "storage.db", quota=2000, name="storage")


async def test_every_operation(storage: ActorRef) -> None:
    assert (await storage.ask(Create("f", "1"))).version == 1
    assert (await storage.ask(Write("f", "2"))).version == 2
    assert (await storage.ask(Append("f", "3"))).version == 3
    assert await storage.ask(Read("f")) == "2\n3"
    assert await storage.ask(Read("f", 1)) == "1"
    assert [info.path for info in await storage.ask(ListFiles())] == ["f"]
    assert (await storage.ask(Delete("f"))).deleted
    assert await storage.ask(ListFiles()) == ()
    assert (await storage.ask(Rollback("f", 1))).version == 5
    assert [info.version for info in await storage.ask(History("f"))] == [1, 2, 3, 4, 5]


async def test_owners_are_apart(storage: ActorRef) -> None:
    await storage.ask(Write("f", "clerk's", owner="clerk"))
    with pytest.raises(NotFound, match='no file named "f"'):
        await storage.ask(Read("f"))
    assert await storage.ask(Read("f", owner="clerk")) == "clerk's"
    assert await storage.ask(Read("f", owner="clerk")) == "clerk's"


async def test_bad_requests_are_replies_and_no_crash(storage: ActorRef) -> None:
    with pytest.raises(InvalidArgument, match='".."'):
        await storage.ask(Read("../x"))
    with pytest.raises(QuotaExceeded, match="does not fit"):
        await storage.ask(Write("f", "x" * 3000))
    for call, message in (
        (Write(5, "x"), "path should be a string, not int"),
        (Write("f", 5), "content should be a string, not int"),
        (Append("f", None), "content should be a string, not NoneType"),
        (ListFiles(prefix=5), "prefix should be a string, not int"),
        (Read("f", owner=5), "owner should be a string, not int"),
        (Read("f", version="1"), "version should be a whole number, not '1'"),
        (Rollback("f", [1]), r"version should be a whole number, not \[1\]"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            await storage.ask(call)
    assert (await storage.ask(Write("f", "x"))).size == 1


async def test_a_full_disk_is_a_reply_and_leaves_all_as_it_was(
    storage: ActorRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.ask(Write("f", "1"))
    write = FileStore.write

    def on_full_disk(self: FileStore, owner: str, path: str, content: str) -> object:
        self._connection.pragma("max_page_count", self._connection.pragma("page_count"))
        self._quota = 10**9
        return write(self, owner, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "write", on_full_disk)
        with pytest.raises(DataUnavailable, match="database or disk is full; free or check its disk"):
            await storage.ask(Write("f", "x" * 1_000_000))
    assert await storage.ask(Read("f")) == "1"
    assert [info.version for info in await storage.ask(History("f"))] == [1]


async def test_requests_are_served_in_order(storage: ActorRef) -> None:
    await asyncio.gather(*(storage.ask(Append("f", str(number))) for number in range(50)))
    assert await storage.ask(Read("f")) == "\n".join(map(str, range(50)))


async def test_a_cancelled_write_completes_whole_and_before_the_next(
    storage: ActorRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, gate = threading.Event(), threading.Event()
    write = FileStore.write

    def slow(self: FileStore, owner: str, path: str, content: str) -> object:
        inside.set()
        gate.wait()
        return write(self, owner, path, content)

    monkeypatch.setattr(FileStore, "write", slow)
    change = asyncio.create_task(storage.ask(Write("f", "new")))
    await asyncio.to_thread(inside.wait)
    change.cancel()
    look = asyncio.create_task(storage.ask(Read("f")))
    await asyncio.sleep(0)
    gate.set()
    assert await look == "new"


async def test_a_new_node_finds_what_was_stored(tmp_path: Path) -> None:
    async with ActorSystem("one") as system:
        storage = await system.spawn(Storage, tmp_path / "storage.db", name="storage")
        await storage.ask(Write("f", "1"))
        await storage.ask(Write("f", "2"))
    assert not any(thread.name.startswith("storage") for thread in threading.enumerate())
    async with ActorSystem("two") as system:
        storage = await system.spawn(Storage, tmp_path / "storage.db", name="storage")
        assert await storage.ask(Read("f")) == "2"
        assert await storage.ask(Read("f", 1)) == "1"


VICTIM = """
import asyncio, sys
from pathlib import Path
from aios_actors.actors import ActorSystem
from aios_actors.kernel.memory import Memory
from aios_actors.kernel.storage import Storage
from aios_actors.syscalls.memory import Add
from aios_actors.syscalls.storage import Append

async def main(folder):
    async with ActorSystem("victim") as system:
        memory = await system.spawn(Memory, folder / "memory.db", name="memory")
        storage = await system.spawn(Storage, folder / "storage.db", name="storage")
        for number in range(1_000_000):
            await memory.ask(Add(f"fact {number}"))
            await storage.ask(Append("log", str(number)))
            print(number, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, str(tmp_path), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert victim.stdout is not None
    acknowledged = -1
    while acknowledged < 100:
        acknowledged = int(await victim.stdout.readline())
    victim.send_signal(signal.SIGKILL)
    rest, _ = await victim.communicate()
    acknowledged = max([acknowledged, *map(int, rest.split()[:-1])])
    store = FileStore(tmp_path / "storage.db")
    lines = store.read("operator", "log").splitlines()
    store.close()
    assert lines == [str(number) for number in range(len(lines))]
    assert len(lines) > acknowledged
    async with ActorSystem("next") as system:
        memory = await system.spawn(Memory, tmp_path / "memory.db", name="memory")
        found = await memory.ask(Search(f"fact {acknowledged}"))
        assert found[0].text == f"fact {acknowledged}"
