"""What each agent does and has used: the figures behind live progress and every task's result.

A plain object that the kernel actors of one node share. Only the kernel writes to it, so an agent cannot colour its
own figures.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from aios_actors.observe.events import TaskEvent
from aios_actors.syscalls.llm import Usage

State = Literal["queued", "running", "waiting", "generating", "tool", "done", "failed"]


@dataclass(slots=True)
class Account:
    """One agent's use since its current task began.

    Attributes:
        task: index of the task in the run; None while the agent works for another agent or not at all.
        usage: sum over its finished LLM calls.
        tool_calls: tool calls made.
        streaming: tokens of its LLM calls that are not finished yet.
    """

    task: int | None = None
    usage: Usage = field(default_factory=Usage)
    tool_calls: int = 0
    streaming: int = 0


class Accounts:
    """The accounts of all agents, and the watcher that is told of each change."""

    def __init__(self, watch: Callable[[TaskEvent], None] | None = None) -> None:
        self._accounts: dict[str, Account] = {}
        self._watch = watch

    def of(self, agent: str) -> Account:
        """The agent's account; a fresh one if it has none."""
        return self._accounts.setdefault(agent, Account())

    def begin(self, agent: str, task: int | None) -> None:
        """The agent starts with a task; its account starts from zero."""
        self._accounts[agent] = Account(task=task)
        self.note(agent, "running")

    def end(self, agent: str, error: str = "") -> Account:
        """The agent's task is over. Returns the final account."""
        self.note(agent, "failed" if error else "done", error)
        return self._accounts.pop(agent, Account())

    def streamed(self, agent: str, tokens: int) -> None:
        """A step of the engine gave the agent `tokens` more."""
        self.of(agent).streaming += tokens
        self.note(agent, "generating")

    def used(self, agent: str, usage: Usage) -> None:
        """An LLM call of the agent ended."""
        account = self.of(agent)
        account.usage += usage
        account.streaming = 0
        self.note(agent, "running")

    def tool(self, agent: str, name: str) -> None:
        """The agent calls a tool."""
        self.of(agent).tool_calls += 1
        self.note(agent, "tool", name)

    def queued(self, kind: str, task: int) -> None:
        """A task waits for an agent of this kind."""
        if self._watch:
            self._watch(TaskEvent(task=task, agent=kind, state="queued"))

    def note(self, agent: str, state: State, detail: str = "") -> None:
        """Tell the watcher what the agent does now, if it works on a task of the run."""
        account = self._accounts.get(agent)
        if self._watch is None or account is None or account.task is None:
            return
        tokens = account.usage.tokens_out + account.streaming
        self._watch(TaskEvent(account.task, agent, state, detail, tokens, account.tool_calls))
