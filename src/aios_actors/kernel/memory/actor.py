"""The memory actor: the notes of all agents, a cache in RAM before a SQLite file.

Contract: changes go through to the file before they are answered. The cache holds single notes by (owner, id) and is
touched on the event loop only; an entry is dropped before its note changes and put back after, so that a cancelled call
leaves no stale one behind.
"""

from pathlib import Path

from aios_actors.actors import handler
from aios_actors.actors.specs import Exit
from aios_actors.kernel.database import StoreThread
from aios_actors.kernel.memory.cache import LruK
from aios_actors.kernel.memory.store import MemoryStore, check_id
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls.memory import Add, Get, Note, Remove, Search, Update


class Memory(KernelActor):
    """Serves the syscalls of `syscalls.memory`.

    The scheduler has checked with the access actor that the caller may do what it asks for.
    """

    def __init__(self, path: Path, cache: int = 1024, quota: int = 100_000) -> None:
        """Makes an actor that opens its file when it starts.

        Args:
            path: the database file, `<data>/memory.db`.
            cache: notes kept in RAM.
            quota: most notes of one owner.
        """
        self._path = path
        self._quota = quota
        self._cache: LruK[tuple[str, int], Note] = LruK(cache)
        self._thread = StoreThread("memory")
        self._store: MemoryStore | None = None

    async def started(self) -> None:
        """Opens the file. Raises DatabaseUnusable."""
        self._store = await self._thread.run(MemoryStore, self._path, self._quota)

    async def stopped(self, reason: Exit) -> None:
        """Closes the file and ends the thread."""
        await self._thread.close(None if self._store is None else self._store.close)

    @property
    def store(self) -> MemoryStore:
        """The open store."""
        assert self._store is not None, "handlers run after `started`"
        return self._store

    @handler
    async def add(self, message: Add) -> Note:
        owner = self.caller
        note = await self._thread.run(self.store.add, owner, message.text, message.tags)
        self._cache.put((owner, note.id), note)
        return note

    @handler
    async def get(self, message: Get) -> Note:
        key = (self.owner(message.owner), check_id(message.id))
        note = self._cache.get(key)
        if note is None:
            note = await self._thread.run(self.store.get, *key)
            self._cache.put(key, note)
        return note

    @handler
    async def update(self, message: Update) -> Note:
        key = (self.caller, check_id(message.id))
        self._cache.discard(key)
        note = await self._thread.run(self.store.update, *key, message.text, message.tags)
        self._cache.put(key, note)
        return note

    @handler
    async def remove(self, message: Remove) -> None:
        key = (self.caller, check_id(message.id))
        self._cache.discard(key)
        await self._thread.run(self.store.remove, *key)

    @handler
    async def search(self, message: Search) -> tuple[Note, ...]:
        owner = self.owner(message.owner)
        return await self._thread.run(self.store.search, owner, message.query, message.limit, message.tags)
