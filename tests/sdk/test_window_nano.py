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


class Adder(Agent):
    """You keep the files of this house."""

    tools = ["calculator", "storage.read", "storage.list"]

    async def run(self, task: str) -> str:
        await self.storage.write("notes.txt", "37")
        await self.storage.write("report.txt", "14")
        return await self.react(task)


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


async def test_a_tool_loop_ends_right_though_its_first_steps_are_gone(tmp_path: Path) -> None:
    task = "What is the sum of the numbers in notes.txt and report.txt?"
    whole = await run("Adder", "error", task, tmp_path)
    slid = await run("Adder", "slide", task, tmp_path)
    for result in (whole, slid):
        assert result.error == "" and "51" in (result.answer or "")
    # Without its first steps the model may need one more; each call is what gets shorter.
    whole_mean, slid_mean = (one.tokens_in / (one.tool_calls + 1) for one in (whole, slid))
    assert slid_mean < whole_mean, "nothing had to be dropped"
