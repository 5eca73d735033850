"""Agents as authors write them, on a whole kernel with a fake engine: chat, typed answers, streams, tools."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aios_actors.actors import Message, handler
from aios_actors.engine.messages import ChatMessage, ChatPrompt, Choice, JsonSchema, ToolCall, ToolCalls
from aios_actors.kernel.agents import Finished, RunTask
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.sdk import Agent, tool
from aios_actors.syscalls.errors import GenerationFailed
from tests.kernel.fakes import cut_off, entry, running_kernel, said, task_of


class Review(msgspec.Struct):
    verdict: str
    score: int


@tool
def exchange_rate(base: str, quote: str) -> float:
    """Today's rate of one unit of `base` in `quote`."""
    if base == quote:
        raise ValueError("the same currency twice")
    return 1.25


async def run(kernel: Any, kind: str, text: str = "") -> Finished:
    finished: Finished = await kernel.actor("agents").ask(RunTask(0, kind, text))
    return finished


def messages(request: Generate) -> tuple[ChatMessage, ...]:
    assert isinstance(request.prompt, ChatPrompt)
    return request.prompt.messages


async def test_ask_puts_the_docstring_before_the_question(tmp_path: Path) -> None:
    class Plain(Agent):
        """You are plain."""

        async def run(self, task: str) -> str:
            return await self.llm.ask(task)

    async with running_kernel(tmp_path, {"plain": Plain}, script=lambda request: said("yes")) as kernel:
        assert (await run(kernel, "plain", "well?")).answer == "yes"
        (request,) = kernel.engine.seen
    assert messages(request) == (ChatMessage("system", "You are plain."), ChatMessage("user", "well?"))
    assert (request.constraint, request.caller, request.conversation) == (None, "plain", "plain/main")


async def test_ask_returns_a_struct_and_lets_the_model_write_nothing_else(tmp_path: Path) -> None:
    class Reviewer(Agent):
        async def run(self, task: str) -> list[Any]:
            review = await self.llm.ask(task, returns=Review, temperature=0.5)
            choice = await self.llm.choose(task, ["good", "bad"])
            return [review.verdict, review.score, choice]

    def script(request: Generate) -> Outcome:
        return said("good" if isinstance(request.constraint, Choice) else json.dumps({"verdict": "fine", "score": 7}))

    async with running_kernel(tmp_path, {"reviewer": Reviewer}, script=script) as kernel:
        assert (await run(kernel, "reviewer", "x")).answer == ["fine", 7, "good"]
        first, second = kernel.engine.seen
    assert isinstance(first.constraint, JsonSchema) and first.sampling.temperature == 0.5
    assert second.constraint == Choice(("good", "bad")) and second.sampling.temperature == 0.0


async def test_an_answer_that_was_cut_off_is_a_typed_error(tmp_path: Path) -> None:
    class Reviewer(Agent):
        async def run(self, task: str) -> Review:
            return await self.llm.ask(task, returns=Review)

    async with running_kernel(
        tmp_path, {"reviewer": Reviewer}, script=lambda request: said('{"verdict": "f')
    ) as kernel:
        assert "the answer is no Review" in (await run(kernel, "reviewer", "x")).error


async def test_stream_yields_pieces_and_leaving_it_cancels_the_call(tmp_path: Path) -> None:
    class Streamer(Agent):
        async def run(self, task: str) -> list[str]:
            pieces = []
            async with self.llm.stream(task) as stream:
                async for piece in stream:
                    pieces.append(piece)
                    if task == "leave":
                        break
            return pieces

    def script(request: Generate) -> Outcome | GenerationFailed | None:
        assert request.on_text is not None
        for piece in ("a", "b", "c"):
            request.on_text(piece)
        outcomes = {"leave": None, "fail": GenerationFailed("it failed")}
        return outcomes.get(task_of(request), said("abc"))

    async with running_kernel(tmp_path, {"streamer": Streamer}, script=script) as kernel:
        assert (await run(kernel, "streamer", "x")).answer == ["a", "b", "c"]
        assert (await run(kernel, "streamer", "leave")).answer == ["a"]
        assert len(kernel.engine.cancelled) == 1
        assert (await run(kernel, "streamer", "fail")).error == "it failed"


class Assistant(Agent):
    """You solve tasks with tools."""

    tools = [exchange_rate, "calculator"]

    async def run(self, task: str) -> str:
        return await self.react(task)


async def test_react_calls_tools_until_the_model_answers(tmp_path: Path) -> None:
    def script(request: Generate) -> Outcome:
        last = messages(request)[-1]
        if last.role == "user":
            return said("", ToolCall("1", "exchange_rate", {"base": "EUR", "quote": "USD"}))
        if last.content == "1.25":
            return said("", ToolCall("2", "calculator", {"expression": "8*1.25"}))
        return said(f" It is {last.content}. ")

    async with running_kernel(tmp_path, {"assistant": Assistant}, script=script) as kernel:
        finished = await run(kernel, "assistant", "How much are 8 EUR in USD?")
        assert finished.answer == "It is 10."
        assert finished.account.tool_calls == 2
        assert finished.account.usage.tokens_out == 6
        request = kernel.engine.seen[-1]
        assert [each.name for each in request.prompt.tools] == ["exchange_rate", "calculator"]  # type: ignore[union-attr]
        assert request.constraint == ToolCalls()
        states = [event.state for event in kernel.events]
        assert states == ["queued", "running", "waiting", "running", "tool", "waiting", "running", "tool",
                          "waiting", "running", "done"]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (ToolCall("1", "exchange_rate", {"base": "EUR", "quote": "EUR"}), "the same currency twice"),
        (ToolCall("1", "exchange_rate", {"base": "EUR"}), 'argument "quote" is missing'),
        (ToolCall("1", "exchange_rat", {}), "denied"),
        (ToolCall("1", "storage.read", {"path": "x"}), "denied"),
        (ToolCall("1", "calculator", {"expression": "1/0"}), "division by zero"),
    ],
)
async def test_the_model_sees_a_tools_error_and_goes_on(tmp_path: Path, call: ToolCall, shown: str) -> None:
    def script(request: Generate) -> Outcome:
        last = messages(request)[-1]
        return said("", call) if last.role == "user" else said(last.content)

    async with running_kernel(tmp_path, {"assistant": Assistant}, script=script) as kernel:
        answer = (await run(kernel, "assistant", "x")).answer
        assert answer.startswith("error: ") and shown in answer


async def test_react_gives_up_after_its_steps(tmp_path: Path) -> None:
    script = lambda request: said("", ToolCall("1", "calculator", {"expression": "1"}))  # noqa: E731
    entries = {"assistant": entry(max_steps=3)}
    async with running_kernel(tmp_path, {"assistant": Assistant}, script=script, entries=entries) as kernel:
        assert "no answer after 3 LLM calls" in (await run(kernel, "assistant", "x")).error
        assert len(kernel.engine.seen) == 3


async def test_a_reply_that_was_cut_off_is_no_answer(tmp_path: Path) -> None:
    async with running_kernel(
        tmp_path, {"assistant": Assistant}, script=lambda request: cut_off("and so on and")
    ) as kernel:
        assert "cut off after 2 tokens; raise the agent's max_tokens" in (await run(kernel, "assistant", "x")).error


async def test_all_services_are_at_hand(tmp_path: Path) -> None:
    class Everything(Agent):
        async def run(self, task: str) -> list[Any]:
            note = await self.memory.add("the moon is far", tags=["sky"])
            await self.memory.update(note.id, "the moon is very far")
            found = await self.memory.search("moon")
            await self.memory.remove(note.id)
            await self.storage.create("a/b.txt", "one")
            await self.storage.append("a/b.txt", "two")
            await self.storage.write("a/b.txt", "three")
            await self.storage.rollback("a/b.txt", 2)
            history = await self.storage.history("a/b.txt")
            text = await self.storage.read("a/b.txt")
            await self.storage.delete("a/b.txt")
            return [found[0].text, text, len(history), await self.storage.list(), len(await self.memory.search("moon"))]

    async with running_kernel(tmp_path, {"all": Everything}) as kernel:
        finished = await run(kernel, "all")
        assert finished.answer == ["the moon is very far", "one\ntwo", 4, (), 0], finished.error


async def test_an_agent_may_also_be_a_plain_actor(tmp_path: Path) -> None:
    class Ping(Message[str]):
        text: str

    class Talker(Agent):
        async def run(self, task: str) -> str:
            return task

        @handler
        def ping(self, message: Ping) -> str:
            return f"{self.name} heard {message.text}"

    async with running_kernel(tmp_path, {"talker": Talker}) as kernel:
        assert await kernel.actor("agents/talker").ask(Ping("hello")) == "talker heard hello"
        assert (await run(kernel, "talker", "x")).answer == "x"


async def test_agents_do_not_see_each_others_notes_and_files(tmp_path: Path) -> None:
    class Keeper(Agent):
        async def run(self, task: str) -> Any:
            if task == "keep":
                await self.memory.add("the door code is 1234")
                return (await self.storage.write("code.txt", "1234")).version
            if task == "look":
                return [len(await self.memory.search("door code")), await self.storage.list()]
            return await self.storage.read("code.txt", owner="one")

    async with running_kernel(tmp_path, {"one": Keeper, "two": Keeper}) as kernel:
        assert (await run(kernel, "one", "keep")).answer == 1
        assert (await run(kernel, "two", "look")).answer == [0, ()]
        assert "denied" in (await run(kernel, "two", "steal")).error


async def test_calls_of_one_agent_may_run_at_the_same_time(tmp_path: Path) -> None:
    class Wide(Agent):
        async def run(self, task: str) -> list[str]:
            return list(await asyncio.gather(*(self.llm.ask(str(n)) for n in range(4))))

    async with running_kernel(tmp_path, {"wide": Wide}, script=lambda request: said(task_of(request))) as kernel:
        assert (await run(kernel, "wide")).answer == ["0", "1", "2", "3"]


async def test_a_class_without_run_is_told_what_to_write(tmp_path: Path) -> None:
    class Empty(Agent):
        pass

    async with running_kernel(tmp_path, {"empty": Empty}) as kernel:
        assert "write async def run(self, task)" in (await run(kernel, "empty")).error


async def test_an_agent_embeds_texts_with_its_model_or_another(tmp_path: Path) -> None:
    class Reader(Agent):
        async def run(self, task: str) -> Any:
            return [await self.llm.embed(["a", "bcd"]), await self.llm.embed("four")]

    async with running_kernel(tmp_path, {"reader": Reader}) as kernel:
        assert (await run(kernel, "reader")).answer == [[(1.0,), (3.0,)], [(4.0,)]]
        assert {request.caller for request in kernel.engine.embedded} == {"reader"}
