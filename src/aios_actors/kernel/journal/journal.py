"""The journal of a run: an append-only record of each agent's syscalls and their answers.

Contract: made for one run and one node, on its event loop. While an agent works on a task of the run, or on one that
comes from it, it has a `Session`; `JournalledKernel` is what its syscalls go to. Events of all agents that wait to be
written are written together. The key of a task is its number in the run; that of a task which an agent was asked to do
is the asker's key with the number of that syscall: the kernel gives keys, so no agent reaches another's journal.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aios_actors.actors import ActorRef, Message
from aios_actors.kernel.database import StoreThread
from aios_actors.kernel.journal.session import Session
from aios_actors.kernel.journal.store import Entry, JournalStore
from aios_actors.observe.events import TaskResult
from aios_actors.syscalls.base import Syscall
from aios_actors.syscalls.errors import ReplayDiverged


def run_file(data: Path, run: str) -> Path:
    """Where the journal of a run is."""
    return data / "runs" / f"{run}.db"


class Journal:
    """One run's journal. Made by `open`."""

    def __init__(
        self, run: str, thread: StoreThread, store: JournalStore, sync: Callable[[], Awaitable[object]]
    ) -> None:
        self.run = run
        self._thread = thread
        self._store = store
        self._sync = sync
        self._sessions: dict[str, Session] = {}
        self._waiting: list[Entry] = []
        self._noted = self._written = 0
        self._turn = asyncio.Lock()

    @classmethod
    async def open(
        cls, path: Path, tasks: Sequence[tuple[str, str]], sync: Callable[[], Awaitable[object]]
    ) -> "Journal":
        """Opens or makes the journal of a run.

        Args:
            path: see `run_file`.
            tasks: agent and input of each task, in order.
            sync: see `Recorder.sync`.

        Raises:
            DatabaseUnusable: the file cannot be opened, or another process goes on with the run.
            ReplayDiverged: the run was begun with other tasks.
        """
        thread = StoreThread("journal")
        try:
            store = await thread.run(JournalStore, path)
        except BaseException:
            await thread.close()
            raise
        digest = hashlib.blake2b(msgspec.json.encode(tasks), digest_size=16).digest()
        journal = cls(path.stem, thread, store, sync)
        if await thread.run(store.about, digest) != digest:
            await journal.close()
            raise ReplayDiverged(f"run {path.stem!r} was begun with other tasks; restore them, or begin a new run")
        return journal

    async def close(self) -> None:
        """Writes what waits and closes the file."""
        await self._write(self._noted)
        await self._thread.close(self._store.close)

    # --- sessions

    async def begin(self, agent: str, key: str) -> Session:
        """The agent begins with a task."""
        session = self._sessions[agent] = Session(key, self, await self._thread.run(self._store.entries, key))
        return session

    def session(self, agent: str) -> Session | None:
        """The journal of what the agent works on; None if that does not belong to the run."""
        return self._sessions.get(agent)

    def end(self, agent: str) -> None:
        """The agent has ended with its task."""
        self._sessions.pop(agent, None)

    def name(self, agent: str, number: int) -> str:
        """What a generation, syscall `number` of the agent's task, is kept under; "" if it is in no journal."""
        session = self._sessions.get(agent)
        return f"{self.run}:{session.key}#{number}" if session is not None and number else ""

    def under_way(self, agent: str, number: int) -> bool:
        """Whether the agent asked for this before the node ended, and got no answer."""
        session = self._sessions.get(agent)
        return session is not None and session.under_way(number)

    # --- results

    async def results(self) -> dict[int, TaskResult]:
        """The results of the run's tasks that ended before."""
        rows = await self._thread.run(self._store.results)
        return {number: msgspec.json.decode(row, type=TaskResult) for number, row in rows.items()}

    async def finish(self, task: int, result: TaskResult) -> None:
        """A task of the run has ended for good."""
        await self._thread.run(self._store.finish, task, msgspec.json.encode(result))

    # --- for sessions, see Recorder

    def note(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._noted += 1

    async def record(self, entry: Entry) -> None:
        self.note(entry)
        await self._write(self._noted)

    async def sync(self) -> None:
        await self._sync()

    async def _write(self, until: int) -> None:
        """Writes the events up to number `until`, unless someone else just did, and all others that wait with them."""
        async with self._turn:
            if self._written >= until:
                return
            entries, self._waiting = self._waiting, []
            self._written += len(entries)
            await self._thread.run(self._store.write, entries)


class JournalledKernel:
    """The scheduler as a journalled agent sees it."""

    def __init__(self, kernel: ActorRef, journal: Journal, agent: str) -> None:
        self._kernel = kernel
        self._journal = journal
        self._agent = agent

    async def ask(self, message: Message[Any], timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Asks, or finds the answer in the journal."""
        session = self._journal.session(self._agent)
        if session is None or not isinstance(message, Syscall):
            return await self._kernel.ask(message, timeout=timeout)
        async with asyncio.timeout(timeout):
            return await session.ask(self._kernel, message)
