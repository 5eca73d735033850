"""The one door to the kernel: each syscall is checked with the access actor and forwarded to its service.

The reply slot travels with it, so that the answer goes straight back to the agent.
"""

from typing import Any

from aios_actors.actors import ActorRef, Refusal, handler
from aios_actors.kernel.access import Check
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls import agent, context, memory, storage, tool
from aios_actors.syscalls.base import Syscall

MemoryCall = memory.Add | memory.Get | memory.Update | memory.Remove | memory.Search
StorageCall = (
    storage.Create
    | storage.Write
    | storage.Append
    | storage.Read
    | storage.Delete
    | storage.ListFiles
    | storage.History
    | storage.Rollback
)
ContextCall = (
    context.TakeSnapshot | context.RestoreSnapshot | context.ForkContext | context.ListContexts | context.DropContext
)
AgentCall = agent.AskAgent | agent.SpawnAgent | agent.ListAgents


class _PutAside(Refusal):
    """Ends a handler whose message was stashed; a stashed message is not answered by it."""


class Door(KernelActor):
    """The part of the scheduler that all syscalls go through; LLM calls are the rest of it."""

    def __init__(self, accounts: Accounts, held: set[str] | None) -> None:
        """`accounts`: where tool calls, and what is handed on, are counted; `held`: names of paused agents."""
        self._accounts = accounts
        self._held = set[str]() if held is None else held

    async def _check(self, call: Syscall[Any]) -> str:
        """The caller's name, once the access actor has let the call pass. Raises AccessDenied.

        A call of a paused agent is put aside, and comes again when the agent goes on.
        """
        caller = self.caller
        if caller in self._held:
            self.stash()
            raise _PutAside
        await self._service("access").ask(Check(caller, call.verb, call.resource(), self.request_id))
        return caller

    def _service(self, name: str) -> ActorRef:
        return self.system.actor_of(name)

    @handler
    async def to_memory(self, call: MemoryCall) -> None:
        """Forwards to the memory actor."""
        await self._check(call)
        self.forward(self._service("memory"), call)

    @handler
    async def to_storage(self, call: StorageCall) -> None:
        """Forwards to the storage actor."""
        await self._check(call)
        self.forward(self._service("storage"), call)

    @handler
    async def to_context(self, call: ContextCall) -> None:
        """Forwards to the context actor."""
        await self._check(call)
        self.forward(self._service("context"), call)

    @handler
    async def to_agents(self, call: AgentCall) -> None:
        """Forwards to the agent host, and counts what is handed on."""
        caller = await self._check(call)
        if isinstance(call, agent.AskAgent | agent.SpawnAgent):
            self._accounts.hand_on(caller, makes=isinstance(call, agent.SpawnAgent))
        self.forward(self._service("agents"), call)

    @handler
    async def to_tool(self, call: tool.CallTool | tool.ListTools) -> None:
        """Forwards to the tool actor, and counts calls."""
        caller = await self._check(call)
        if isinstance(call, tool.CallTool):
            self._accounts.tool(caller, call.name)
        self.forward(self._service("tool"), call)
