"""The storage actor: the versioned files of all agents.

Contract: a change is in the database before it is answered, and requests are served in the order in which they came.
The blocking work runs on a thread of its own; a call whose caller gives up still completes whole.
"""

from pathlib import Path

from aios_actors.actors import handler
from aios_actors.actors.specs import Exit
from aios_actors.kernel.database import StoreThread
from aios_actors.kernel.service import KernelActor
from aios_actors.kernel.storage.store import FileStore
from aios_actors.syscalls.storage import Append, Create, Delete, FileInfo, History, ListFiles, Read, Rollback, Write


class Storage(KernelActor):
    """Serves the syscalls of `syscalls.storage`.

    The scheduler has checked with the access actor that the caller may do what it asks for.
    """

    def __init__(self, path: Path, quota: int = 64 * 2**20) -> None:
        """Makes an actor that opens its database when it starts.

        Args:
            path: the database file, `<data>/storage.db`.
            quota: most bytes of one owner, history included.
        """
        self._path = path
        self._quota = quota
        self._thread = StoreThread("storage")
        self._store: FileStore | None = None

    async def started(self) -> None:
        """Opens the database. Raises DatabaseUnusable."""
        self._store = await self._thread.run(FileStore, self._path, self._quota)

    async def stopped(self, reason: Exit) -> None:
        """Closes the database and ends the thread."""
        await self._thread.close(None if self._store is None else self._store.close)

    @property
    def store(self) -> FileStore:
        """The open store."""
        assert self._store is not None, "handlers run after `started`"
        return self._store

    @handler
    async def create(self, message: Create) -> FileInfo:
        return await self._thread.run(self.store.create, self.owner(message.owner), message.path, message.content)

    @handler
    async def write(self, message: Write) -> FileInfo:
        return await self._thread.run(self.store.write, self.owner(message.owner), message.path, message.content)

    @handler
    async def append(self, message: Append) -> FileInfo:
        return await self._thread.run(self.store.append, self.owner(message.owner), message.path, message.content)

    @handler
    async def read(self, message: Read) -> str:
        return await self._thread.run(self.store.read, self.owner(message.owner), message.path, message.version)

    @handler
    async def delete(self, message: Delete) -> FileInfo:
        return await self._thread.run(self.store.delete, self.owner(message.owner), message.path)

    @handler
    async def list_files(self, message: ListFiles) -> tuple[FileInfo, ...]:
        return await self._thread.run(self.store.list, self.owner(message.owner), message.prefix)

    @handler
    async def history(self, message: History) -> tuple[FileInfo, ...]:
        return await self._thread.run(self.store.history, self.owner(message.owner), message.path)

    @handler
    async def rollback(self, message: Rollback) -> FileInfo:
        return await self._thread.run(self.store.rollback, self.owner(message.owner), message.path, message.version)
