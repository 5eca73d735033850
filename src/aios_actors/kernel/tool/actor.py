"""The tool actor: tells models what tools there are, and calls them.

Contract: arguments are checked before a call, and every call ends in a value or a typed error. Calls run beside the
mailbox, so a slow tool delays nobody; a call ends when its caller gives up. A tool that stands for a syscall is
forwarded to the scheduler, with the agent's identity and reply slot.
"""

import contextlib
from typing import Any

from aios_actors.actors import Message, Reply, UnknownActor, handler
from aios_actors.engine.messages import ToolSchema
from aios_actors.kernel.llm_core.messages import AgentWaits
from aios_actors.kernel.service import KernelActor
from aios_actors.kernel.tool.builtin import SyscallTool
from aios_actors.kernel.tool.registry import ToolRegistry
from aios_actors.kernel.tool.runner import ToolRunner
from aios_actors.sdk.tool import Tool as PythonTool
from aios_actors.sdk.tool import ToolDefinitionError
from aios_actors.syscalls.errors import InvalidArgument, SyscallError
from aios_actors.syscalls.tool import CallTool, ListTools

WORTH_TELLING_S = 0.05
"""A tool that takes less is over before an eviction could pay."""


class AddTools(Message[None], frozen=True):
    """Make more tools known. Kernel-internal. Errors: InvalidArgument when another tool has one of the names."""

    tools: tuple[PythonTool[..., Any], ...]


class Tool(KernelActor):
    """Serves the syscalls of `syscalls.tool`.

    The scheduler has checked with the access actor that the caller may call the tool.
    """

    def __init__(self, registry: ToolRegistry, scheduler: str = "scheduler") -> None:
        """Makes an actor that serves the tools of `registry`; `scheduler` is the name of that actor."""
        self._registry = registry
        self._scheduler = scheduler
        self._runners: dict[str, ToolRunner] = {}

    @handler
    def list_tools(self, message: ListTools) -> tuple[ToolSchema, ...]:
        """Answers with schemas."""
        given = message.patterns
        if not isinstance(given, tuple | list) or not all(isinstance(pattern, str) for pattern in given):
            raise InvalidArgument(f"patterns should be a tuple of strings, not {given!r}")
        return self._registry.fitting(given)

    @handler
    def add_tools(self, message: AddTools) -> None:
        """Adds to the registry."""
        try:
            for each in message.tools:
                self._registry.add(each)
        except ToolDefinitionError as error:
            raise InvalidArgument(str(error)) from error

    @handler
    def call_tool(self, message: CallTool) -> None:
        """Starts the call in a task of its own, or forwards what it stands for."""
        tool = self._registry.get(message.name)
        arguments = tool.bind(message.arguments)
        if isinstance(tool, SyscallTool):
            self.forward(self.system.actor_of(self._scheduler), tool.function(**arguments))
            return
        if message.name not in self._runners:
            self._runners[message.name] = ToolRunner(tool, self._registry.limits(message.name))
        runner = self._runners[message.name]
        self._tell_wait(runner)
        reply = self.defer()
        task = self.start_task(self._answer(reply, runner, arguments), name=f"tool-{message.name}")
        reply.on_cancel(task.cancel)

    def _tell_wait(self, runner: ToolRunner) -> None:
        """Lets the LLM core know how long the agent is expected to wait, if that is long enough to matter."""
        if runner.expected_s is not None and runner.expected_s >= WORTH_TELLING_S:
            with contextlib.suppress(UnknownActor):  # tools are of use without models too
                self.system.actor_of("llm_core").tell(AgentWaits(self.caller, runner.expected_s))

    async def _answer(self, reply: Reply[Any], runner: ToolRunner, arguments: dict[str, Any]) -> None:
        began = self.system.now()
        try:
            reply.send(await runner.call(arguments))
        except SyscallError as error:
            reply.fail(error)
        runner.observe(self.system.now() - began)
