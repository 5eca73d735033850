"""A whole kernel for tests of its logic, in which only the engine is fake: `FakeCore` answers as its script says."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec

from aios_actors.actors import Actor, ActorRef, ActorSystem, ChildSpec, Clock, Refusal, Reply, handler
from aios_actors.config.structs import AgentConfig, Config
from aios_actors.engine.messages import ChatPrompt, ToolCall
from aios_actors.engine.protocol import Result
from aios_actors.engine.spec import WorkerSpec
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.agents import AgentKind
from aios_actors.kernel.kernel import KERNEL, kernel_specs
from aios_actors.kernel.llm_core.messages import (
    AgentWaits,
    Capacity,
    EmbedTexts,
    ForgetAgent,
    Generate,
    Outcome,
    PreemptJob,
    TellCapacity,
)
from aios_actors.kernel.tool import ToolRegistry
from aios_actors.observe.events import TaskEvent
from aios_actors.sdk import Agent, AgentSetup, Tool
from aios_actors.syscalls.llm import Embeddings

MODEL = "nano"


def said(text: str, *calls: ToolCall, prompt: tuple[int, ...] = (1, 2, 3), tokens: tuple[int, ...] = (4, 5)) -> Outcome:
    """A complete generation."""
    result = Result(
        text=text,
        tool_calls=calls,
        prompt_tokens=prompt,
        tokens=tokens,
        tokens_in=len(prompt),
        tokens_out=len(tokens),
        queue_s=0.0,
    )
    return Outcome("tool_calls" if calls else "stop", tokens, result)


def cut_off(text: str) -> Outcome:
    """A generation that used up its max_tokens."""
    return msgspec.structs.replace(said(text), finish="length")


def sliced(tokens: tuple[int, ...], prompt: tuple[int, ...] = (1, 2, 3)) -> Outcome:
    """A generation that used up its slice."""
    return Outcome("slice", tokens, Result(prompt_tokens=prompt, tokens=tokens, tokens_in=len(prompt)))


def lost(tokens: tuple[int, ...]) -> Outcome:
    """A generation whose worker died."""
    return Outcome("lost", tokens)


class SetCapacity(Capacity, frozen=True):
    """From a test: pass this on to the scheduler."""


class FakeCore(Actor):
    """Answers each `Generate` by the script; None from the script leaves it open, to be answered through `open`."""

    def __init__(self, script: Callable[[Generate], Outcome | Refusal | None], places: int, engine: "Engine") -> None:
        self._script = script
        self._places = places
        self._engine = engine

    async def started(self) -> None:
        """Tells the scheduler its places, as the real one does when a worker is ready."""
        self.system.actor_of("scheduler").tell(Capacity(MODEL, self._places))

    @handler
    def generate(self, request: Generate) -> None:
        """Answers, or leaves open."""
        reply: Reply[Outcome] = self.defer()
        self._engine.seen.append(request)
        outcome = self._script(request)
        if outcome is None:
            self._engine.open[request.id] = reply
            reply.on_cancel(lambda: self._engine.cancelled.append(request.id))
        elif isinstance(outcome, Refusal):
            reply.fail(outcome)
        else:
            reply.send(outcome)

    @handler
    def preempt(self, message: PreemptJob) -> None:
        """Ends an open generation with what the script would have it generate so far: nothing."""
        self._engine.preempted.append(message.id)
        reply = self._engine.open.pop(message.id, None)
        if reply is not None:
            reply.send(sliced(()))

    @handler
    def embed(self, request: EmbedTexts) -> Embeddings:
        """Answers with the length of each text."""
        self._engine.embedded.append(request)
        return Embeddings(tuple((float(len(text)),) for text in request.texts), len(request.texts))

    @handler
    def agent_waits(self, message: AgentWaits) -> None:
        """Notes it for the test."""
        self._engine.waits.append((message.agent, message.seconds))

    @handler
    def forget_agent(self, message: ForgetAgent) -> None:
        """Notes it for the test."""
        self._engine.forgotten.append(message.agent)

    @handler
    def tell_capacity(self, message: TellCapacity) -> None:
        """Tells the scheduler again."""
        self.system.actor_of("scheduler").tell(Capacity(MODEL, self._places))

    @handler
    def set_capacity(self, message: SetCapacity) -> None:
        """Passes it on."""
        self.system.actor_of("scheduler").tell(Capacity(message.model, message.places, message.error))


class Engine:
    """What a test sees of the fake engine: requests, open, cancelled and preempted ones, forgotten agents."""

    def __init__(self) -> None:
        self.seen: list[Generate] = []
        self.embedded: list[EmbedTexts] = []
        self.open: dict[int, Reply[Outcome]] = {}
        self.cancelled: list[int] = []
        self.preempted: list[int] = []
        self.waits: list[tuple[str, float]] = []
        self.forgotten: list[str] = []


class TestKernel:
    """A running kernel.

    Attributes:
        system: its actor system.
        engine: the fake engine.
        events: what the watcher was told.
        accounts: what the agents used.
    """

    __test__ = False

    def __init__(self, system: ActorSystem, engine: Engine, events: list[TaskEvent], accounts: Accounts) -> None:
        self.system = system
        self.engine = engine
        self.events = events
        self.accounts = accounts

    def actor(self, name: str) -> ActorRef:
        """A kernel actor."""
        return self.system.actor_of(name)

    @property
    def scheduler(self) -> ActorRef:
        """The door; calls from the test itself are the operator's."""
        return self.actor("scheduler")


@contextlib.asynccontextmanager
async def running_kernel(
    folder: Path,
    agents: Mapping[str, type[Agent]] | None = None,
    script: Callable[[Generate], Outcome | Refusal | None] = lambda request: said("done"),
    places: int = 4,
    config: Config | None = None,
    entries: Mapping[str, AgentConfig] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[TestKernel]:
    """Starts a kernel with these agent classes; `entries` are config entries that differ from the default."""
    config = config or Config()
    engine, events = Engine(), list[TaskEvent]()
    accounts = Accounts(events.append, config.run.budget)
    async with ActorSystem("test", supervision=KERNEL, clock=clock) as system:
        kinds = {
            name: kind_of(system, name, cls, (entries or {}).get(name, AgentConfig(class_="test:Test")))
            for name, cls in (agents or {}).items()
        }
        own = [each for cls in (agents or {}).values() for each in cls.tools if isinstance(each, Tool)]
        tools = ToolRegistry(own, config.tools.limits)
        specs = kernel_specs(config, [WorkerSpec("", name=MODEL)], kinds, tools, accounts, folder, folder)
        fake = ChildSpec(name="llm_core", factory=FakeCore, args=(script, places, engine), restart="permanent")
        for spec in specs:
            await system.spawn_spec(fake if spec.name == "llm_core" else spec)
        yield TestKernel(system, engine, events, accounts)


def kind_of(system: ActorSystem, name: str, cls: type[Agent], entry: AgentConfig) -> AgentKind:
    """What the host makes agents of a class from."""
    names = (each if isinstance(each, str) else each.name for each in cls.tools)
    tools = entry.tools if entry.tools is not None else tuple(names)

    def make(agent: str) -> Agent:
        made = cls(**entry.options)
        made.connect(
            AgentSetup(
                agent,
                system.actor_of("scheduler"),
                MODEL,
                tools=tools,
                max_steps=entry.max_steps,
                overflow=entry.overflow,
            )
        )
        return made

    return AgentKind(name, entry, make, "", tools)


def task_of(request: Generate) -> str:
    """The last user message of a request."""
    assert isinstance(request.prompt, ChatPrompt)
    return next(m.content for m in reversed(request.prompt.messages) if m.role == "user")


def entry(**fields: object) -> AgentConfig:
    """A config entry for a test's agent."""
    return msgspec.convert({"class": "test:Test", **fields}, AgentConfig)
