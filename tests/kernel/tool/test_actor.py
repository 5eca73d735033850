"""The tool actor: calls beside the mailbox, cancellation, and forwarding of what stands for a syscall."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from aios_actors.actors import Actor, ActorRef, ActorSystem, Message, handler
from aios_actors.kernel.tool import AddTools, Tool, ToolRegistry
from aios_actors.sdk.tool import tool
from aios_actors.syscalls.errors import InvalidArgument, NotFound, ToolFailed
from aios_actors.syscalls.memory import Add, Note
from aios_actors.syscalls.tool import CallTool, ListTools


class Scheduler(Actor):
    """Answers a memory syscall with who asked."""

    @handler
    def add(self, message: Add) -> Note:
        return Note(1, f"{message.text} from {self.sender.name if self.sender else 'outside'}")


class Relay(Message[object], frozen=True):
    """Have the agent make a call."""

    call: CallTool


class Agent(Actor):
    """Makes calls."""

    def __init__(self, tools: ActorRef) -> None:
        self.tools = tools

    @handler
    async def relay(self, message: Relay) -> object:
        return await self.tools.ask(message.call)


class Stage:
    """What the tools of a test show and wait for."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.gate = asyncio.Event()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def system(stage: Stage) -> AsyncIterator[ActorSystem]:
    @tool
    async def slow(answer: str) -> str:
        """Waits for the gate."""
        stage.began.set()
        try:
            await stage.gate.wait()
        finally:
            stage.ended.set()
        return answer

    @tool
    def double(number: int) -> int:
        """Doubles a number."""
        return 2 * number

    @tool
    def broken() -> None:
        """Fails."""
        raise ZeroDivisionError("oh")

    async with ActorSystem("test") as system:
        await system.spawn(Scheduler, name="scheduler")
        await system.spawn(Tool, ToolRegistry([slow, double, broken]), name="tool")
        yield system


def tools(system: ActorSystem) -> ActorRef:
    return system.actor_of("tool")


async def test_calls_end_in_values_or_typed_errors(system: ActorSystem) -> None:
    ref = tools(system)
    assert await ref.ask(CallTool("double", {"number": "21"})) == 42
    assert await ref.ask(CallTool("calculator", {"expression": "37*14"})) == 518
    for call, error, message in (
        (CallTool("doubel", {}), NotFound, 'no tool named "doubel"; did you mean "double"'),
        (CallTool([], {}), InvalidArgument, r"the name of a tool should be a string, not \[\]"),
        (CallTool("double", 5), InvalidArgument, r"the arguments of double\(number: integer\) should be an object"),
        (ListTools("double"), InvalidArgument, "patterns should be a tuple of strings, not 'double'"),
        (ListTools(5), InvalidArgument, "patterns should be a tuple of strings, not 5"),
        (ListTools((5,)), InvalidArgument, r"patterns should be a tuple of strings, not \(5,\)"),
        (CallTool("double", {}), InvalidArgument, 'argument "number" is missing'),
        (CallTool("double", {"number": "x"}), InvalidArgument, 'argument "number": expected int'),
        (CallTool("broken", {}), ToolFailed, 'tool "broken" raised ZeroDivisionError: oh'),
        (CallTool("calculator", {"expression": "1/0"}), InvalidArgument, "^division by zero$"),
    ):
        with pytest.raises(error, match=message):
            await ref.ask(call)
    assert ref.alive


async def test_lists_schemas_by_patterns(system: ActorSystem) -> None:
    schemas = await tools(system).ask(ListTools(("double", "memory.a*")))
    assert [schema.name for schema in schemas] == ["double", "memory.add"]


async def test_a_slow_tool_delays_nobody(system: ActorSystem, stage: Stage) -> None:
    slow = asyncio.create_task(tools(system).ask(CallTool("slow", {"answer": "late"})))
    await stage.began.wait()
    assert await tools(system).ask(CallTool("double", {"number": 2})) == 4
    assert not slow.done()
    stage.gate.set()
    assert await slow == "late"


async def test_a_call_ends_with_its_caller(system: ActorSystem, stage: Stage) -> None:
    agent = await system.spawn(Agent, tools(system), name="ann")
    relay = asyncio.create_task(agent.ask(Relay(CallTool("slow", {"answer": "x"}))))
    await stage.began.wait()
    relay.cancel()
    await stage.ended.wait()
    assert await tools(system).ask(CallTool("double", {"number": 2})) == 4


async def test_a_call_ends_with_the_death_of_its_caller(system: ActorSystem, stage: Stage) -> None:
    agent = await system.spawn(Agent, tools(system), name="ann")
    relay = asyncio.create_task(agent.ask(Relay(CallTool("slow", {"answer": "x"}))))
    await stage.began.wait()
    agent.kill()
    await stage.ended.wait()
    await asyncio.gather(relay, return_exceptions=True)


async def test_a_tool_that_stands_for_a_syscall_is_forwarded_with_the_callers_identity(system: ActorSystem) -> None:
    agent = await system.spawn(Agent, tools(system), name="ann")
    note = await agent.ask(Relay(CallTool("memory.add", {"text": "hello"})))
    assert note == Note(1, "hello from ann")


async def test_tools_can_be_added(system: ActorSystem) -> None:
    @tool
    def triple(number: int) -> int:
        """Triples a number."""
        return 3 * number

    @tool(name="triple")
    def other() -> None:
        """Another one."""

    await tools(system).ask(AddTools((triple,)))
    assert await tools(system).ask(CallTool("triple", {"number": 3})) == 9
    with pytest.raises(InvalidArgument, match="a tool named 'triple' already"):
        await tools(system).ask(AddTools((other,)))


async def test_no_thread_is_left(system: ActorSystem) -> None:
    await asyncio.gather(*(tools(system).ask(CallTool("double", {"number": n})) for n in range(20)))
    await system.shutdown()
    async with asyncio.timeout(10):
        while any(thread.name.startswith("tool-") for thread in threading.enumerate()):
            await asyncio.sleep(0)
