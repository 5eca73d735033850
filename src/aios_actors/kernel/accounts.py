"""What each agent does and has used: the figures behind live progress, every task's result, and budgets.

A plain object that the kernel actors of one node share. Only the kernel writes to it, so an agent cannot colour its
own figures. Accounts form trees: that of a task which an agent was asked to do is below the asker's, that of a task of
the run is below the run's. What is used counts in all accounts above, so that no budget is evaded by handing work on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from aios_actors.config.structs import AgentConfig, Budget
from aios_actors.kernel.scheduler.policies.ticket import Program
from aios_actors.observe.events import TaskEvent
from aios_actors.observe.state import AgentTotals, RunTotals
from aios_actors.syscalls.errors import BudgetExceeded
from aios_actors.syscalls.llm import Usage

State = Literal["queued", "running", "waiting", "generating", "tool", "done", "failed"]
Counted = Literal["tokens", "tool_calls", "agents"]


@dataclass(eq=False, slots=True)
class Account:
    """One agent's use since its current task began.

    Attributes:
        agent: its name; "run" for the run.
        config: its entry in the config, for its shares and its budget; None for who has none.
        budget: what may be used.
        above: the account of the task for which this task is done; None for none.
        program: what the policies know it as, with all that it causes.
        began: clock time of its begin; None for the run before its first task.
        task: index of the task in the run; None while the agent works for another agent or not at all.
        state: what it does now.
        detail: name of the tool that it calls, or its error.
        usage: sum over its finished LLM calls.
        tool_calls: tool calls made.
        streaming: tokens of its LLM calls that are not finished yet.
        used: what was used of the budget, by this task and all that it causes.
        granted: tokens that calls under way may still use.
    """

    agent: str
    config: AgentConfig | None = None
    budget: Budget = field(default_factory=Budget)
    above: "Account | None" = None
    program: Program = field(default_factory=Program)
    began: float | None = None
    task: int | None = None
    state: State | Literal["idle"] = "idle"
    detail: str = ""
    usage: Usage = field(default_factory=Usage)
    tool_calls: int = 0
    streaming: int = 0
    used: dict[Counted, int] = field(default_factory=lambda: {"tokens": 0, "tool_calls": 0, "agents": 0})
    granted: int = 0

    @property
    def root(self) -> "Account":
        """The account of the task that this one is done for in the end."""
        above = self.above
        return self if above is None or (above.above is None and above.agent == RUN) else above.root

    def chain(self) -> "Iterator[Account]":
        """This account and all above."""
        account: Account | None = self
        while account is not None:
            yield account
            account = account.above

    def end(self) -> float | None:
        """When its seconds are over, or those of one above; None if none has a limit."""
        ends = (a.began + a.budget.seconds for a in self.chain() if a.budget.seconds and a.began is not None)
        return min(ends, default=None)


RUN = "run"


@dataclass(slots=True)
class Total:
    """What an agent has used in all its tasks; `usage` only in those that are over."""

    tasks: int = 0
    failed: int = 0
    calls: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)

    def add(self, other: "Total") -> None:
        """Takes in what another agent has used."""
        self.tasks += other.tasks
        self.failed += other.failed
        self.calls += other.calls
        self.tool_calls += other.tool_calls
        self.usage += other.usage

    def told(self, agent: str, account: Account | None, *, paused: bool) -> AgentTotals:
        """As it is shown; `account` is that of the task under way."""
        use = self.usage + account.usage if account else self.usage
        state, detail = ("paused", "") if paused else (account.state, account.detail) if account else ("idle", "")
        return AgentTotals(
            agent, self.tasks, self.failed, self.calls, use.tokens_in, use.tokens_cached, use.tokens_out,
            use.waiting_s, use.preemptions, self.tool_calls, state, detail,
        )  # fmt: skip


class Accounts:
    """The accounts of all agents, and the watcher that is told of each change."""

    def __init__(self, watch: Callable[[TaskEvent], None] | None = None, budget: Budget | None = None) -> None:
        """`budget`: the run's."""
        self.run = Account(RUN, budget=budget or Budget())
        self.paused: set[str] = set()
        """Names of the agents that stand still."""
        self._accounts: dict[str, Account] = {}
        self._totals: defaultdict[str, Total] = defaultdict(Total)
        self._watch = watch

    def of(self, agent: str) -> Account:
        """The agent's account; a fresh one if it has none."""
        return self._accounts.setdefault(agent, Account(agent))

    def begin(self, agent: str, config: AgentConfig, now: float, task: int | None = None, asker: str = "") -> Account:
        """The agent starts with a task, one of the run or for another agent; its account starts from zero."""
        if task is not None and self.run.began is None:
            self.run.began = now
        above = self.run if task is not None else self._accounts.get(asker)
        account = Account(agent, config, config.budget, above, began=now, task=task)
        if above is not None and above is not self.run:
            account.program = above.program
        self._accounts[agent] = account
        self._totals[agent].tasks += 1
        self.note(agent, "running")
        return account

    def end(self, agent: str, error: str = "") -> Account:
        """The agent's task is over. Returns the final account."""
        self.note(agent, "failed" if error else "done", error)
        if agent in self._accounts and agent in self._totals:
            self._totals[agent].failed += error != ""
            self._totals[agent].usage += self._accounts[agent].usage
        return self._accounts.pop(agent, Account(agent))

    def gone(self, agent: str, kind: str) -> None:
        """An agent that another made has ended: what it used counts for all such ones of its kind."""
        self.paused.discard(agent)
        if agent in self._totals:
            total = self._totals.pop(agent)
            total.usage += self.of(agent).usage if agent in self._accounts else Usage()
            self._totals[f"{kind}-*"].add(total)

    def totals(self) -> tuple[tuple[AgentTotals, ...], RunTotals]:
        """What each agent and the run have used since the node started."""
        used = self.run.used
        run = RunTotals(used["tokens"], used["tool_calls"], used["agents"])
        agents = (
            total.told(agent, self._accounts.get(agent), paused=agent in self.paused)
            for agent, total in self._totals.items()
        )
        return tuple(agents), run

    def streamed(self, agent: str, tokens: int) -> None:
        """A step of the engine gave the agent `tokens` more."""
        self.of(agent).streaming += tokens
        self.note(agent, "generating")

    def used(self, agent: str, usage: Usage) -> None:
        """An LLM call of the agent ended."""
        account = self.of(agent)
        account.usage += usage
        account.streaming = 0
        self._totals[agent].calls += 1
        self.note(agent, "running")

    def tool(self, agent: str, name: str) -> None:
        """The agent calls a tool. Raises BudgetExceeded."""
        account = self.of(agent)
        self.spend(account, "tool_calls", 1)
        account.tool_calls += 1
        self._totals[agent].tool_calls += 1
        self.note(agent, "tool", name)

    def hand_on(self, agent: str, *, makes: bool) -> None:
        """The agent asks another one, or makes one. Raises BudgetExceeded."""
        account = self.of(agent)
        for depth, each in enumerate(account.chain(), start=1):
            limit = each.budget.depth
            # The run's tasks are its first level, not work that it hands on.
            if limit is not None and depth - (each is self.run) > limit:
                raise BudgetExceeded(each.agent, "depth", depth - (each is self.run), limit)
        if makes:
            self.spend(account, "agents", 1)

    def spend(self, account: Account, what: Counted, amount: int) -> None:
        """Counts use, in all accounts above as well. Raises BudgetExceeded, and counts nothing, if one has no more."""
        for each in account.chain():
            limit: int | None = getattr(each.budget, what)
            if limit is not None and each.used[what] + amount > limit:
                raise BudgetExceeded(each.agent, what, each.used[what] + amount, limit)
        self.charge(account, what, amount)

    def charge(self, account: Account, what: Counted, amount: int) -> None:
        """Counts use that has already happened."""
        for each in account.chain():
            each.used[what] += amount

    def grant(self, account: Account, wanted: int) -> int:
        """Lets a call generate tokens: as many as wanted, or half of what is left where that is less.

        Half, so that others of the same budget can go on at the same time. None, while others under way may still use
        all that is left. What was granted is to be given back by `take_back` when the turn is over, and what was used
        of it charged.

        Raises:
            BudgetExceeded: all tokens of a budget are used.
        """
        granted = wanted
        for each in account.chain():
            limit = each.budget.tokens
            if limit is not None:
                if each.used["tokens"] >= limit:
                    raise BudgetExceeded(each.agent, "tokens", each.used["tokens"], limit)
                left = max(limit - each.used["tokens"] - each.granted, 0)
                granted = min(granted, left - left // 2)
        for each in account.chain():
            each.granted += granted
        return granted

    def take_back(self, account: Account, granted: int) -> None:
        """A turn is over."""
        for each in account.chain():
            each.granted -= granted

    def take_back_all(self) -> None:
        """No turn is under way: a scheduler begins."""
        for each in (self.run, *self._accounts.values()):
            each.granted = 0

    def out_of_time(self, account: Account, now: float) -> BudgetExceeded | None:
        """The error of whose seconds are over, if there is one."""
        for each in account.chain():
            limit = each.budget.seconds
            if limit is not None and each.began is not None and now >= each.began + limit:
                return BudgetExceeded(each.agent, "seconds", now - each.began, limit)
        return None

    def queued(self, kind: str, task: int) -> None:
        """A task waits for an agent of this kind."""
        if self._watch:
            self._watch(TaskEvent(task=task, agent=kind, state="queued"))

    def note(self, agent: str, state: State, detail: str = "") -> None:
        """Keep what the agent does now, and tell the watcher, if it works on a task of the run."""
        account = self._accounts.get(agent)
        if account is None:
            return
        account.state, account.detail = state, detail
        if self._watch is None or account.task is None:
            return
        tokens = account.usage.tokens_out + account.streaming
        self._watch(TaskEvent(account.task, agent, state, detail, tokens, account.tool_calls))
