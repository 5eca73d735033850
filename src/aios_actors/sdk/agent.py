"""Agents as actor classes.

An author writes a subclass of `Agent` with an async method `run`, which takes a task and returns its answer. Everything
that an agent needs of the system it gets through `self.llm`, `self.memory`, `self.storage`, `self.tools`, `self.agents`
and `self.context`; each call there is one typed syscall to the scheduler. Since an agent is an actor, it may also have
handlers for message types of its own.
"""

import inspect
from typing import Any, ClassVar

import msgspec
import structlog

from aios_actors.actors import Actor, handler
from aios_actors.engine.messages import Sampling
from aios_actors.sdk.clients import AgentsClient, ContextClient, MemoryClient, StorageClient, ToolsClient
from aios_actors.sdk.kernel import Kernel
from aios_actors.sdk.llm import LlmClient
from aios_actors.sdk.react import react
from aios_actors.sdk.window import Overflow
from aios_actors.syscalls.agent import Perform


class AgentSetup(msgspec.Struct, frozen=True):
    """What the kernel gives an agent when it is made.

    Attributes:
        name: the agent's name, which is its identity.
        kernel: the scheduler, to which its syscalls go.
        model: the model that its LLM calls use.
        sampling: how tokens are chosen unless a call says otherwise.
        prompt: system prompt of the config; "" for the class's own.
        tools: names and patterns of the tools that it may call.
        max_steps: most LLM calls for one task in the ready-made loops.
        adapters: LoRA adapters that its LLM calls use, with their scales.
        overflow: what happens to a conversation that outgrows the model's window.
    """

    name: str
    kernel: Kernel
    model: str = "nano"
    sampling: Sampling = Sampling()
    prompt: str = ""
    tools: tuple[str, ...] = ()
    max_steps: int = 12
    adapters: dict[str, float] = {}
    overflow: Overflow = "error"


class Agent(Actor):
    """Base of all agents.

    Class attributes:
        tools: in the class body, what it may call: `@tool` functions, names, or patterns such as "memory.*". The
            config's `tools` replace it. On an agent, `self.tools` is the client with which it calls them.
        prompt: the system prompt; the class's docstring if empty.

    Attributes, in `run` and in `started`:
        name: its name in the node.
        log: a structlog logger that is bound to its name.
        llm, memory, storage, tools, agents, context: the kernel's services.
    """

    tools: Any = ()
    prompt: ClassVar[str] = ""

    def connect(self, setup: AgentSetup) -> None:
        """Called by the kernel when the agent has been made, before its first message."""
        self.setup = setup
        self.name = setup.name
        self.log = structlog.get_logger(type(self).__module__).bind(agent=setup.name)
        self.llm = LlmClient(
            setup.kernel, setup.model, setup.sampling, self.system_prompt, setup.adapters, setup.overflow
        )
        self.memory = MemoryClient(setup.kernel)
        self.storage = StorageClient(setup.kernel)
        self.tools = ToolsClient(setup.kernel, setup.tools)
        self.agents = AgentsClient(setup.kernel)
        self.context = ContextClient(setup.kernel)

    @property
    def system_prompt(self) -> str:
        """The config's system prompt, else the class's, else the class's docstring."""
        return self.setup.prompt or self.prompt or inspect.cleandoc(type(self).__doc__ or "")

    async def run(self, task: Any) -> Any:
        """Does a task. To be overridden.

        An error of the kernel that it lets through goes to whoever gave the task. Any other exception ends this
        incarnation: the asker gets AgentFailed, and the agent is made anew.

        Args:
            task: what to do; a string for tasks of the config.

        Returns:
            The answer. What is no string is shown as JSON.
        """
        raise TypeError(f"{type(self).__qualname__} has no method `run`; write async def run(self, task)")

    async def react(self, task: str) -> str:
        """The ready-made loop of reasoning and acting: calls the tools that the LLM wants until it answers."""
        return await react(self.llm, self.tools, task, max_steps=self.setup.max_steps)

    @handler
    async def perform(self, call: Perform) -> Any:
        """Runs a task that the kernel hands over."""
        return await self.run(call.task)
