"""Conversations that outgrow the window: what goes, what stays, what stands in its place, and what the reply tells."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.messages import ChatMessage, ChatPrompt, ToolCall
from aios_actors.kernel.agents import RunTask
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.sdk import Agent, tool
from aios_actors.sdk.window import turns
from aios_actors.syscalls.errors import ContextOverflow
from aios_actors.syscalls.memory import Search
from tests.kernel.fakes import entry, running_kernel, said

WINDOW = 400


def length(request: Generate) -> int:
    """The fake engine's tokens: one for four characters."""
    assert isinstance(request.prompt, ChatPrompt)
    return sum(len(message.content) for message in request.prompt.messages) // 4


def engine(request: Generate) -> Outcome | ContextOverflow:
    """Refuses what does not fit, as the real one does; sums up in three words."""
    tokens = length(request)
    if tokens + min(request.reserve, WINDOW // 4) > WINDOW:
        return ContextOverflow(f"the prompt has {tokens} tokens, but a sequence holds {WINDOW}", tokens, WINDOW)
    return said("short and sweet" if request.conversation.endswith("/summary") else "fine")


class Talker(Agent):
    """You talk."""

    async def run(self, task: str) -> list[Any]:
        """One question after the other, 200 characters each."""
        messages, seen = self.llm.opening("start"), []
        for number in range(int(task)):
            messages.append(ChatMessage("user", f"question {number} ".ljust(200, ".")))
            reply = await self.llm.chat(messages)
            messages.append(ChatMessage("assistant", reply.text))
            seen.append((reply.dropped, reply.summary))
        return seen


async def talk(folder: Path, questions: int, overflow: str, script: Any = engine) -> tuple[Any, list[Generate], Any]:
    """The finished task, the requests that were answered, and the notes about summaries."""
    entries = {"talker": entry(overflow=overflow)}
    async with running_kernel(folder, {"talker": Talker}, script=script, entries=entries) as kernel:
        finished = await kernel.actor("agents").ask(RunTask(0, "talker", str(questions)))
        notes = await kernel.scheduler.ask(Search("short", owner="talker", tags=("summary",)))
        answered = [request for request in kernel.engine.seen if not isinstance(engine(request), ContextOverflow)]
        return finished, answered, notes


async def test_overflow_error_says_tokens_and_window(tmp_path: Path) -> None:
    class Careful(Talker):
        async def run(self, task: str) -> Any:
            try:
                return await super().run(task)
            except ContextOverflow as error:
                return (error.tokens, error.window)

    async with running_kernel(tmp_path, {"careful": Careful}, script=engine) as kernel:
        finished = await kernel.actor("agents").ask(RunTask(0, "careful", "20"))
    tokens, window = finished.answer
    assert tokens >= window == WINDOW


async def test_a_sliding_window_keeps_the_system_prompt_and_the_question(tmp_path: Path) -> None:
    finished, answered, _ = await talk(tmp_path, 20, "slide")
    assert finished.error == ""
    dropped = [count for count, _ in finished.answer]
    assert dropped[0] == 0 < dropped[-1]
    assert dropped == sorted(dropped), "what is dropped stays dropped"
    for number, request in enumerate(answered):
        assert isinstance(request.prompt, ChatPrompt)
        messages = request.prompt.messages
        assert messages[0] == ChatMessage("system", "You talk.")
        assert messages[-1].content.startswith(f"question {number} ")
    assert all(summary == "" for _, summary in finished.answer)


async def test_between_two_slides_each_call_extends_the_one_before(tmp_path: Path) -> None:
    finished, answered, _ = await talk(tmp_path, 20, "slide")
    slides = len({count for count, _ in finished.answer})
    prompts = [request.prompt.messages for request in answered if isinstance(request.prompt, ChatPrompt)]
    extending = sum(later[: len(earlier)] == earlier for earlier, later in pairwise(prompts))
    assert slides > 2
    assert extending == len(prompts) - slides


async def test_a_summary_stands_in_place_of_the_turns_and_becomes_a_note(tmp_path: Path) -> None:
    finished, answered, notes = await talk(tmp_path, 20, "summarise")
    assert finished.error == ""
    assert finished.answer[0] == (0, "") and finished.answer[-1][1] == "short and sweet"
    assert notes and all(note.text == "short and sweet" and note.tags == ("summary", "main") for note in notes)
    last = answered[-1].prompt
    assert isinstance(last, ChatPrompt)
    assert last.messages[0].content.startswith("You talk.\n\nSummary of the conversation so far:\nshort and sweet")
    told = [request.prompt for request in answered if request.conversation == "talker/main/summary"]
    assert isinstance(told[0], ChatPrompt) and "question 0" in told[0].messages[1].content
    assert isinstance(told[-1], ChatPrompt) and "short and sweet" in told[-1].messages[1].content


async def test_the_summary_is_part_of_what_the_reply_says_it_cost(tmp_path: Path) -> None:
    plain, _, _ = await talk(tmp_path, 3, "summarise")
    long, answered, _ = await talk(tmp_path, 20, "summarise")
    assert plain.account.usage.tokens_out == 2 * 3
    assert long.account.usage.tokens_out == 2 * len(answered) > 2 * 20


async def test_turns_that_do_not_fit_one_summary_are_summed_up_in_parts(tmp_path: Path) -> None:
    class Flooded(Agent):
        """You read."""

        async def run(self, task: str) -> Any:
            story = [ChatMessage("user", "w" * 1400), ChatMessage("assistant", "x" * 1400)]
            reply = await self.llm.chat([*story, ChatMessage("user", "well?")])
            return reply.dropped, reply.summary

    entries = {"flooded": entry(overflow="summarise")}
    async with running_kernel(tmp_path, {"flooded": Flooded}, script=engine, entries=entries) as kernel:
        finished = await kernel.actor("agents").ask(RunTask(0, "flooded", ""))
        sums = [r for r in kernel.engine.seen if r.conversation.endswith("/summary")]
    assert finished.answer == (2, "short and sweet")
    assert len([r for r in sums if not isinstance(engine(r), ContextOverflow)]) > 2


async def test_what_has_to_stay_and_does_not_fit_is_an_overflow(tmp_path: Path) -> None:
    class Huge(Agent):
        async def run(self, task: str) -> str:
            return await self.llm.ask("x" * 4 * WINDOW)

    for overflow in ("slide", "summarise"):
        entries = {"huge": entry(overflow=overflow)}
        async with running_kernel(tmp_path, {"huge": Huge}, script=engine, entries=entries) as kernel:
            finished = await kernel.actor("agents").ask(RunTask(0, "huge", ""))
        assert f"{WINDOW} tokens, but a sequence holds" in finished.error


async def test_a_loop_of_tool_calls_slides_without_losing_its_task(tmp_path: Path) -> None:
    @tool
    def read_page(number: int) -> str:
        """A page of a book."""
        return f"page {number} ".ljust(300, ".")

    class Reader(Agent):
        """You read."""

        tools = [read_page]

        async def run(self, task: str) -> str:
            return await self.react(task)

    pages = iter(range(1, 100))

    def script(request: Generate) -> Outcome | ContextOverflow:
        overflow = engine(request)
        if isinstance(overflow, ContextOverflow):
            return overflow
        number = next(pages)
        return said("done") if number > 8 else said("", ToolCall(f"c{number}", "read_page", {"number": number}))

    entries = {"reader": entry(overflow="slide")}
    async with running_kernel(tmp_path, {"reader": Reader}, script=script, entries=entries) as kernel:
        finished = await kernel.actor("agents").ask(RunTask(0, "reader", "Read the book."))
        prompt = kernel.engine.seen[-1].prompt
    assert (finished.answer, finished.error) == ("done", "")
    assert isinstance(prompt, ChatPrompt)
    assert [m.role for m in prompt.messages[:3]] == ["system", "user", "assistant"]
    assert prompt.messages[1].content == "Read the book."
    assert prompt.messages[-1].content.startswith("page 8 ")
    assert len(prompt.messages) < 2 + 2 * 8


@st.composite
def conversations(draw: Any) -> list[ChatMessage]:
    """Questions, each with any number of steps: an answer, or a call with one or two results."""
    messages = [ChatMessage("system", "s")] if draw(st.booleans()) else []
    for question in range(draw(st.integers(1, 4))):
        messages.append(ChatMessage("user", f"q{question}"))
        for step in range(draw(st.integers(0, 4))):
            results = draw(st.integers(0, 2))
            calls = tuple(ToolCall(f"{question}.{step}.{n}", "t", {}) for n in range(results))
            messages.append(ChatMessage("assistant", "", calls))
            messages += [ChatMessage("tool", "r", tool_call_id=call.id) for call in calls]
    return messages


@given(conversations())
def test_a_tool_call_and_its_results_are_never_parted(messages: list[ChatMessage]) -> None:
    last_question = max(place for place, message in enumerate(messages) if message.role == "user")
    dropped: set[int] = set()
    for turn in turns(messages):
        assert not dropped & set(turn)
        dropped |= set(turn)
        kept = [message for place, message in enumerate(messages) if place not in dropped]
        calls = {call.id for message in kept for call in message.tool_calls}
        assert calls == {message.tool_call_id for message in kept if message.role == "tool"}
        assert messages[last_question] in kept and kept[-1] == messages[-1]
        assert [m for m in kept if m.role == "system"] == [m for m in messages if m.role == "system"]
