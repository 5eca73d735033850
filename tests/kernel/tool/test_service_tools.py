"""The kernel's services as tools, through a whole kernel: identity, access, and the text that a model sees."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aios_actors.config.structs import Config, GroupConfig
from aios_actors.sdk import Agent
from aios_actors.sdk.render import render
from aios_actors.syscalls.agent import AskAgent
from aios_actors.syscalls.errors import AccessDenied, SyscallError
from aios_actors.syscalls.memory import Get, Search
from tests.kernel.fakes import TestKernel, entry, running_kernel


class Doer(Agent):
    """Calls the tools that its task lists."""

    tools: ClassVar[Any] = ("calculator", "memory.*", "storage.*", "agents.ask")

    async def run(self, task: Any) -> Any:
        texts = []
        for name, arguments in task:
            try:
                texts.append(render(await self.tools.call(name, **arguments), name))
            except SyscallError as error:
                texts.append(render(error, name))
        return texts


class Reader(Doer):
    """May read only."""

    tools: ClassVar[Any] = ("storage.read",)


class Clerk(Agent):
    """Answers with its task."""

    async def run(self, task: Any) -> Any:
        return f"done: {task}"


class Auditor(Agent):
    """Makes the syscall that it is given."""

    async def run(self, task: Any) -> Any:
        return await self.system.actor_of("scheduler").ask(task)


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[TestKernel]:
    config = Config(groups={"auditors": GroupConfig(members=("auditor",), grants=("memory.search:doer",))})
    agents = {"doer": Doer, "reader": Reader, "clerk": Clerk, "auditor": Auditor}
    async with running_kernel(tmp_path, agents, config=config, entries={"doer": entry(delegates=("clerk",))}) as kernel:
        yield kernel


async def do(kernel: TestKernel, agent: str, *steps: tuple[str, dict[str, Any]]) -> list[str]:
    texts: list[str] = await kernel.scheduler.ask(AskAgent(agent, list(steps)))
    return texts


async def test_every_service_works_as_a_tool(kernel: TestKernel) -> None:
    assert await do(
        kernel,
        "doer",
        ("calculator", {"expression": "37 * 14"}),
        ("storage.list", {}),
        ("storage.write", {"path": "notes/sum.txt", "content": "518"}),
        ("storage.append", {"path": "notes/sum.txt", "content": "519"}),
        ("storage.read", {"path": "notes/sum.txt"}),
        ("storage.history", {"path": "notes/sum.txt"}),
        ("storage.rollback", {"path": "notes/sum.txt", "version": 1}),
        ("storage.read", {"path": "notes/sum.txt"}),
        ("storage.list", {}),
        ("memory.search", {"query": "door code of Miravel"}),
        ("memory.add", {"text": "The door code of Miravel is 8342."}),
        ("memory.search", {"query": "door code of Miravel"}),
        ("memory.ids", {"query": "Miravel"}),
        ("memory.update", {"id": 1, "text": "It is 1."}),
        ("memory.get", {"id": 1}),
        ("memory.remove", {"id": 1}),
        ("agents.ask", {"agent": "clerk", "task": "file it"}),
    ) == [
        "518",
        "no files",
        "ok",
        "ok",
        "518\n519",
        "1: 3 bytes\n2: 7 bytes",
        "ok",
        "518",
        "notes/sum.txt",
        "nothing found",
        "saved",
        "The door code of Miravel is 8342.",
        "1: The door code of Miravel is 8342.",
        "saved",
        "It is 1.",
        "ok",
        "done: file it",
    ]


async def test_errors_are_texts_for_the_model(kernel: TestKernel) -> None:
    texts = await do(
        kernel,
        "doer",
        ("storage.read", {"path": "x.txt"}),
        ("storage.write", {"path": "../x", "content": ""}),
        ("storage.write", {"path": "x"}),
        ("calculator", {"expression": "1/0"}),
        ("memory.get", {"id": 7}),
        ("agents.ask", {"agent": "reader", "task": "x"}),
    )
    assert texts[0] == 'error: no file named "x.txt"'
    assert texts[1].startswith('error: path "../x" has the part ".."')
    assert texts[2].startswith('error: argument "content" is missing: the tool is storage.write(path: string, content')
    assert texts[3] == "error: division by zero"
    assert texts[4] == "error: doer has no note 7"
    assert texts[5].startswith(
        'error: agents.ask on "reader" is denied to "doer"; to allow it, add "reader" to delegates'
    )


async def test_what_a_tool_does_it_does_for_its_caller(kernel: TestKernel) -> None:
    await do(kernel, "doer", ("storage.write", {"path": "f", "content": "the doer's"}))
    texts = await do(
        kernel,
        "reader",
        ("storage.read", {"path": "f"}),
        ("storage.write", {"path": "f", "content": ""}),
        ("unheard_of", {}),
    )
    assert texts[0] == 'error: no file named "f"'
    assert texts[1].startswith('error: tool.call on "storage.write" is denied to "reader"; to allow it, add')
    assert texts[2].startswith('error: tool.call on "unheard_of" is denied to "reader"')


async def test_a_grant_opens_what_it_names_and_no_more(kernel: TestKernel) -> None:
    await do(kernel, "doer", ("memory.add", {"text": "the code is 8342"}))
    notes = await kernel.scheduler.ask(AskAgent("auditor", Search("code", owner="doer")))
    assert [note.text for note in notes] == ["the code is 8342"]
    with pytest.raises(AccessDenied, match='memory.get on "doer" is denied to "auditor"; to allow it, add a group'):
        await kernel.scheduler.ask(AskAgent("auditor", Get(1, owner="doer")))
    with pytest.raises(AccessDenied, match='memory.search on "clerk" is denied to "auditor"'):
        await kernel.scheduler.ask(AskAgent("auditor", Search("code", owner="clerk")))
