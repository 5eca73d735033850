"""Windows that are too small for what the embedded model has to hold: chats and tool loops go on, and say what went."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from aios_actors.config.structs import Config
from aios_actors.models import resolve
from aios_actors.node import Node
from aios_actors.observe.events import TaskResult
from aios_actors.sdk import Agent, ChatMessage

WINDOW = 256


class Chatter(Agent):
    """You answer questions."""

    async def run(self, task: str) -> list[Any]:
        messages, seen = self.llm.opening("Hello."), []
        for number in range(14):
            reply = await self.llm.chat(messages)
            messages += [ChatMessage("assistant", reply.text), ChatMessage("user", f"What is {number} plus {number}?")]
            seen.append([reply.dropped, bool(reply.summary), reply.usage.tokens_in])
        return seen


class Keeper(Agent):
    """You keep facts and files."""

    tools = ["memory.search", "storage.write"]

    async def run(self, task: str) -> list[str]:
        for name, code in (("Miravel", 8342), ("Tolvek", 512), ("Zandor", 77)):
            await self.memory.add(f"the code of {name} is {code}")
        return [await self.react(task), await self.storage.read("notes.txt")]


async def run(cls: str, overflow: str, task: str, data: Path) -> TaskResult:
    """The result of one task in a small window."""
    entry = {"class": f"{__name__}:{cls}", "overflow": overflow, "sampling": {"max_tokens": 64}}
    of = msgspec.convert(
        {
            "models": {"nano": {"source": "embedded", "context": WINDOW}},
            "workers": [{"model": "nano", "sequences": 2, "threads": 1, "speculate": "off"}],
            "agents": {"agent": entry},
            "tasks": [{"agent": "agent", "input": task}],
        },
        Config,
    )
    models = {"nano": resolve("nano", of.models["nano"], data, lambda line: None)}
    async with Node(of, models, data=data) as node:
        (result,) = await node.run_tasks(lambda result: None)
    return result


@pytest.mark.parametrize("overflow", ["slide", "summarise"])
async def test_a_long_chat_goes_on_in_a_small_window(overflow: str, tmp_path: Path) -> None:
    result = await run("Chatter", overflow, "", tmp_path)
    assert result.error == ""
    seen = msgspec.json.decode(result.answer or "")
    dropped = [entry[0] for entry in seen]
    assert dropped[0] == 0 < dropped[-1] and dropped == sorted(dropped)
    assert [summed for _, summed, _ in seen] == [overflow == "summarise" and count > 0 for count in dropped]
    if overflow == "slide":  # a summary is a part of what the call cost
        assert all(tokens_in <= WINDOW - 64 for _, _, tokens_in in seen)


async def test_a_long_chat_without_a_remedy_is_an_error_that_says_tokens_and_window(tmp_path: Path) -> None:
    result = await run("Chatter", "error", "", tmp_path)
    assert "but a sequence holds 256" in result.error


async def test_a_tool_loop_ends_right_though_its_first_step_is_gone(tmp_path: Path) -> None:
    task = "Find the code of Miravel in memory and write it to notes.txt."
    with pytest.raises(AssertionError, match="a reply was cut off|a sequence holds 256"):
        await kept("error", task, tmp_path / "error")
    assert await kept("slide", task, tmp_path / "slide") == "8342"


async def kept(overflow: str, task: str, data: Path) -> str:
    """What a tool loop wrote; the search that it began with has no room any more when it ends."""
    result = await run("Keeper", overflow, task, data)
    assert result.error == "", result.error
    answer, content = msgspec.json.decode(result.answer or "")
    assert "8342" in answer and result.tool_calls == 2
    return str(content)
