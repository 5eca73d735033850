"""The tools that every node has: a calculator, and the kernel's services.

Contract: names, parameters and descriptions of those that the embedded model is trained on are fixed. A service's tool
makes a syscall of its arguments, which the tool actor forwards to the scheduler in place of the call: it is checked
like any syscall of the same agent, and answered straight to it.
"""

from collections.abc import Callable
from typing import Any, ParamSpec

from aios_actors.kernel.tool.calculator import evaluate
from aios_actors.sdk.tool import Tool, tool
from aios_actors.syscalls import memory, storage
from aios_actors.syscalls.agent import AskAgent
from aios_actors.syscalls.base import Syscall

P = ParamSpec("P")

LISTED = 20
"""Notes that memory.ids lists at most."""


class SyscallTool(Tool[P, Syscall[Any]]):
    """A tool whose function makes the syscall that it stands for."""


def _stands_for(name: str) -> Callable[[Callable[P, Syscall[Any]]], SyscallTool[P]]:
    return lambda function: SyscallTool(function, name)


@tool
async def calculator(expression: str) -> int | float:
    """Evaluates an arithmetic expression."""
    return evaluate(expression)


@_stands_for("memory.add")
def memory_add(text: str) -> Syscall[Any]:
    """Remembers a fact."""
    return memory.Add(text)


@_stands_for("memory.search")
def memory_search(query: str) -> Syscall[Any]:
    """Finds remembered facts."""
    return memory.Search(query)


@_stands_for("memory.ids")
def memory_ids(query: str) -> Syscall[Any]:
    """Lists the ids of remembered facts."""
    return memory.Search(query, limit=LISTED)


@_stands_for("memory.get")
def memory_get(id: int) -> Syscall[Any]:
    """Returns the remembered fact with an id."""
    return memory.Get(id)


@_stands_for("memory.update")
def memory_update(id: int, text: str) -> Syscall[Any]:
    """Replaces the remembered fact with an id."""
    return memory.Update(id, text)


@_stands_for("memory.remove")
def memory_remove(id: int) -> Syscall[Any]:
    """Forgets the remembered fact with an id."""
    return memory.Remove(id)


@_stands_for("storage.write")
def storage_write(path: str, content: str) -> Syscall[Any]:
    """Writes a file."""
    return storage.Write(path, content)


@_stands_for("storage.read")
def storage_read(path: str) -> Syscall[Any]:
    """Reads a file."""
    return storage.Read(path)


@_stands_for("storage.append")
def storage_append(path: str, content: str) -> Syscall[Any]:
    """Appends a line to a file."""
    return storage.Append(path, content)


@_stands_for("storage.list")
def storage_list() -> Syscall[Any]:
    """Lists the files."""
    return storage.ListFiles()


@_stands_for("storage.create")
def storage_create(path: str, content: str) -> Syscall[Any]:
    """Makes a new file, and fails if there is one already."""
    return storage.Create(path, content)


@_stands_for("storage.delete")
def storage_delete(path: str) -> Syscall[Any]:
    """Deletes a file."""
    return storage.Delete(path)


@_stands_for("storage.history")
def storage_history(path: str) -> Syscall[Any]:
    """Lists the versions of a file."""
    return storage.History(path)


@_stands_for("storage.rollback")
def storage_rollback(path: str, version: int) -> Syscall[Any]:
    """Brings an old version of a file back."""
    return storage.Rollback(path, version)


@_stands_for("agents.ask")
def agents_ask(agent: str, task: str) -> Syscall[Any]:
    """Hands a task to another agent and returns its answer."""
    return AskAgent(agent, task)


def kernel_tools() -> tuple[Tool[..., Any], ...]:
    """The tools of every node, in the order in which they are listed."""
    return (
        calculator,
        *(memory_add, memory_search, memory_ids, memory_get, memory_update, memory_remove),
        *(storage_write, storage_read, storage_append, storage_list),
        *(storage_create, storage_delete, storage_history, storage_rollback),
        agents_ask,
    )
