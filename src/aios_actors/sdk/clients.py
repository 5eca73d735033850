"""`self.memory`, `self.storage`, `self.tools`, `self.agents` and `self.context`: each method is one syscall.

The errors are those of the syscalls, see `aios_actors.syscalls`.
"""

from collections.abc import Iterable
from typing import Any

from aios_actors.engine.messages import ToolSchema
from aios_actors.sdk.kernel import Kernel
from aios_actors.syscalls import agent, context, memory, storage, tool


class MemoryClient:
    """Notes that outlive the conversation and the node."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def add(self, text: str, tags: Iterable[str] = ()) -> memory.Note:
        """Remembers a text."""
        return await self._kernel.ask(memory.Add(text, tuple(tags)))

    async def get(self, id: int, owner: str = "") -> memory.Note:
        """One note by its id."""
        return await self._kernel.ask(memory.Get(id, owner))

    async def update(self, id: int, text: str, tags: Iterable[str] | None = None) -> memory.Note:
        """Replaces a note's text, and its tags if given."""
        return await self._kernel.ask(memory.Update(id, text, None if tags is None else tuple(tags)))

    async def remove(self, id: int) -> None:
        """Forgets a note."""
        await self._kernel.ask(memory.Remove(id))

    async def search(
        self, query: str, limit: int = 5, tags: Iterable[str] = (), owner: str = ""
    ) -> tuple[memory.Note, ...]:
        """The notes that fit the query best, best first."""
        return await self._kernel.ask(memory.Search(query, limit, tuple(tags), owner))


class StorageClient:
    """The agent's own versioned files; `owner` names another agent's, which needs a grant."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def create(self, path: str, content: str = "", owner: str = "") -> storage.FileInfo:
        """Makes a new file."""
        return await self._kernel.ask(storage.Create(path, content, owner))

    async def write(self, path: str, content: str, owner: str = "") -> storage.FileInfo:
        """Makes or replaces a file."""
        return await self._kernel.ask(storage.Write(path, content, owner))

    async def append(self, path: str, content: str, owner: str = "") -> storage.FileInfo:
        """Adds a line at the end of a file."""
        return await self._kernel.ask(storage.Append(path, content, owner))

    async def read(self, path: str, version: int | None = None, owner: str = "") -> str:
        """The content of a file."""
        return await self._kernel.ask(storage.Read(path, version, owner))

    async def delete(self, path: str, owner: str = "") -> storage.FileInfo:
        """Deletes a file; its versions stay."""
        return await self._kernel.ask(storage.Delete(path, owner))

    async def list(self, prefix: str = "", owner: str = "") -> tuple[storage.FileInfo, ...]:
        """The files whose paths start with `prefix`."""
        return await self._kernel.ask(storage.ListFiles(prefix, owner))

    async def history(self, path: str, owner: str = "") -> tuple[storage.FileInfo, ...]:
        """All versions of a file, oldest first."""
        return await self._kernel.ask(storage.History(path, owner))

    async def rollback(self, path: str, version: int, owner: str = "") -> storage.FileInfo:
        """Makes an old version the newest."""
        return await self._kernel.ask(storage.Rollback(path, version, owner))


class ToolsClient:
    """The tools that the agent may call."""

    def __init__(self, kernel: Kernel, patterns: tuple[str, ...]) -> None:
        self._kernel = kernel
        self._patterns = patterns

    async def schemas(self) -> tuple[ToolSchema, ...]:
        """The tools' schemas, as a chat takes them."""
        return await self._kernel.ask(tool.ListTools(self._patterns)) if self._patterns else ()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Calls a tool and returns what it returned."""
        return await self._kernel.ask(tool.CallTool(name, arguments))


class AgentsClient:
    """Other agents."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def ask(self, name: str, task: Any) -> Any:
        """Hands a task to another agent and returns its answer."""
        return await self._kernel.ask(agent.AskAgent(name, task))

    async def spawn(self, kind: str) -> str:
        """Makes an agent of a config entry, which ends with the current task. Returns its name."""
        return await self._kernel.ask(agent.SpawnAgent(kind))

    async def list(self) -> tuple[agent.AgentInfo, ...]:
        """The agents of the node."""
        return await self._kernel.ask(agent.ListAgents())


class ContextClient:
    """The agent's conversations as tokens."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def snapshot(self, conversation: str = "main") -> context.Snapshot:
        """The conversation as it is now."""
        return await self._kernel.ask(context.TakeSnapshot(conversation))

    async def restore(self, snapshot: context.Snapshot) -> None:
        """Makes the conversation what the snapshot says; `llm.chat(())` then goes on from there."""
        await self._kernel.ask(context.RestoreSnapshot(snapshot))

    async def fork(self, conversation: str, name: str) -> None:
        """Makes the conversation `name` what `conversation` is now; from then on each goes its own way."""
        await self._kernel.ask(context.ForkContext(conversation, name))

    async def list(self) -> tuple[context.ContextInfo, ...]:
        """The agent's conversations, without their tokens."""
        return await self._kernel.ask(context.ListContexts())

    async def drop(self, conversation: str = "main") -> None:
        """Forgets a conversation."""
        await self._kernel.ask(context.DropContext(conversation))
