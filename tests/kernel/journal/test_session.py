"""A task that is replayed: answers from the journal in their order, then from the kernel; and code that differs."""

import asyncio
from typing import Any

import pytest

from aios_actors.kernel.journal import session as module
from aios_actors.kernel.journal.session import Session
from aios_actors.kernel.journal.store import Entry
from aios_actors.syscalls.agent import SpawnAgent
from aios_actors.syscalls.errors import NodeStopping, NotFound, ReplayDiverged
from aios_actors.syscalls.tool import CallTool


class Kernel:
    """Answers a tool call with its name and how often it was called; keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def ask(self, call: Any) -> Any:
        self.calls.append(call)
        await asyncio.sleep(0)
        if isinstance(call, SpawnAgent):
            return call.name or "echo-1"
        if call.name == "missing":
            raise NotFound("no such tool")
        if call.name == "stopping":
            raise NodeStopping("bye")
        return f"{call.name} {len(self.calls)}"

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]


class Tape:
    """Records into a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    async def record(self, entry: Entry) -> None:
        self.entries.append(entry)

    async def sync(self) -> None:
        raise AssertionError("there are no chats here")


def call(name: str) -> CallTool:
    return CallTool(name, {"n": 1})


async def play(code: Any, tape: Tape, kernel: Kernel, cut: int | None = None) -> Any:
    """Runs `code(ask)` against the first `cut` events that the tape has, and records further ones."""
    entries = tape.entries[:cut]
    tape.entries = list(entries)
    session: Any = Session("0", tape, entries)
    answer = await code(lambda message: session.ask(kernel, message))
    session.end()
    return answer


async def two(ask: Any) -> list[Any]:
    return [await ask(call("first")), await ask(call("second"))]


async def test_what_was_answered_is_not_asked_again() -> None:
    for cut in range(5):
        tape, kernel = Tape(), Kernel()
        whole = await play(two, tape, kernel)
        assert len(tape.entries) == 4
        again = Kernel()
        again.calls = [None] * (cut // 2)  # its answers count on from there
        assert await play(two, tape, again, cut) == whole
        assert len(again.calls) - cut // 2 == 2 - cut // 2
        assert [entry.number for entry in tape.entries] == [1, 1, 2, 2] or cut in (1, 3)


async def test_an_error_is_raised_again() -> None:
    async def code(ask: Any) -> str:
        try:
            await ask(call("missing"))
        except NotFound as error:
            return str(error)
        raise AssertionError("no error")

    tape = Tape()
    assert await play(code, tape, Kernel()) == "no such tool"
    silent = Kernel()
    assert await play(code, tape, silent) == "no such tool"
    assert silent.calls == []


async def test_a_node_that_stops_is_no_answer() -> None:
    async def code(ask: Any) -> Any:
        return await ask(call("stopping"))

    tape = Tape()
    with pytest.raises(NodeStopping):
        await play(code, tape, Kernel())
    assert [entry.kind for entry in tape.entries] == ["ask"]


async def test_answers_come_in_the_order_in_which_they_came() -> None:
    async def code(ask: Any) -> list[str]:
        order: list[str] = []

        async def chain(name: str, steps: int) -> None:
            for step in range(steps):
                await ask(call(f"{name}{step}"))
                order.append(f"{name}{step}")

        await asyncio.gather(chain("a", 3), chain("b", 2), chain("c", 4))
        return order

    tape = Tape()
    order = await play(code, tape, Kernel())
    events = list(tape.entries)
    for cut in range(len(events) + 1):
        tape.entries = list(events)
        replayed = await play(code, tape, Kernel(), cut)
        told = sum(entry.kind == "answer" for entry in events[:cut])
        assert replayed[:told] == order[:told]
        assert sorted(replayed) == sorted(order)


async def test_a_made_agent_is_made_again_under_its_name() -> None:
    async def code(ask: Any) -> Any:
        return await ask(SpawnAgent("echo"))

    tape = Tape()
    assert await play(code, tape, Kernel()) == "echo-1"
    again = Kernel()
    assert await play(code, tape, again) == "echo-1"
    assert again.calls == [SpawnAgent("echo", name="echo-1")]


async def test_code_that_asks_for_something_else_is_told_what_and_where() -> None:
    async def other(ask: Any) -> Any:
        await ask(call("first"))
        return await ask(call("third"))

    tape = Tape()
    await play(two, tape, Kernel())
    with pytest.raises(ReplayDiverged, match=r"task 0, syscall 2: .*'tool.call second'.*asks for 'tool.call third'"):
        await play(other, tape, Kernel())


async def test_code_that_swallows_the_error_gets_it_again_and_in_the_end() -> None:
    async def deaf(ask: Any) -> str:
        for name in ("third", "first", "second"):
            with pytest.raises(ReplayDiverged):
                await ask(call(name))
        return "done"

    tape = Tape()
    await play(two, tape, Kernel())
    with pytest.raises(ReplayDiverged):
        await play(deaf, tape, Kernel())


async def test_code_that_ends_early_diverges() -> None:
    async def short(ask: Any) -> Any:
        return await ask(call("first"))

    tape = Tape()
    await play(two, tape, Kernel())
    with pytest.raises(ReplayDiverged, match="syscall 2: .*the task ended"):
        await play(short, tape, Kernel())


async def test_code_that_waits_for_what_cannot_come_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(ask: Any) -> Any:
        return await asyncio.gather(ask(call("first")), ask(call("second")))

    tape = Tape()
    await play(both, tape, Kernel())
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    with pytest.raises(ReplayDiverged, match="syscall 2: .*did not ask"):
        await play(two, tape, Kernel())
