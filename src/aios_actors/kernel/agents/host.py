"""The agent host: hands agents tasks one at a time, and keeps who waits for whom.

An agent whose code raises is made anew, and its asker gets AgentFailed. Agents that an agent made end with the task for
which it made them. An agent that asks another waits for it; an ask that would close a circle of waiting is refused.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import structlog

from aios_actors.actors import ActorDied, DeadlineExceeded, MailboxSpec, Refusal, handler
from aios_actors.kernel.accounts import Account, Accounts
from aios_actors.kernel.agents.life import AgentLife
from aios_actors.kernel.agents.listing import listing
from aios_actors.kernel.agents.messages import AgentKind, EndTasks, Finished, RefuseTasks, RunTask
from aios_actors.kernel.agents.pool import Assignment, Hosted
from aios_actors.kernel.agents.waits import Waits
from aios_actors.kernel.journal import Journal
from aios_actors.syscalls.agent import AgentInfo, AskAgent, ListAgents, Perform, SpawnAgent
from aios_actors.syscalls.errors import AgentFailed, NodeStopping, NotFound, ReplayDiverged, WaitCycle

log = structlog.get_logger(__name__)


class AgentHost(AgentLife):
    """Brings tasks to agents."""

    mailbox = MailboxSpec(capacity=32_768)

    def __init__(self, kinds: Mapping[str, AgentKind], accounts: Accounts, journal: Journal | None = None) -> None:
        """`kinds`: the config's agents by name; `journal`: of the run, if it has one."""
        self._journal = journal
        super().__init__(kinds, accounts)
        self._waits = Waits(self._members)
        self._refusing = False

    async def started(self) -> None:
        """Makes the agents of the config."""
        for pool in self._pools.values():
            for _ in range(pool.kind.config.count):
                pool.join(await self._make(pool, parent=""))

    @handler
    def run_task(self, message: RunTask) -> None:
        """Queues a task of the run."""
        self._accounts.queued(message.kind, message.task)
        self._assign(message.kind, Assignment(message.input, self.defer(), number=message.task, key=str(message.task)))

    @handler
    def ask_agent(self, call: AskAgent) -> None:
        """Queues a task that one agent has for another."""
        caller = self.caller
        self._refuse_cycle(caller, call.agent)
        assignment = Assignment(
            call.task, self.defer(), asker=caller, target=call.agent, key=self._key(caller, call.number)
        )
        self._waits.add(assignment)
        self._assign(call.agent, assignment)

    def _key(self, asker: str, number: int) -> str:
        """The journal's key of a task that an agent hands on; "" if it is in no journal."""
        hosted = self._agents.get(asker)
        return f"{hosted.busy.key}/{number}" if hosted and hosted.busy and hosted.busy.key and number else ""

    def _assign(self, target: str, assignment: Assignment) -> None:
        """To an agent by its name, or to any of a kind."""
        hosted = self._agents.get(target)
        if self._refusing:
            assignment.reply.fail(NodeStopping("the node is shutting down; it takes no new tasks"))
        elif hosted is not None:
            hosted.queue.append(assignment)
            if hosted.busy is None:
                self._next(hosted)
        elif target in self._pools:
            idle = self._pools[target].submit(assignment)
            if idle is not None:
                self._next(idle)
        else:
            assignment.reply.fail(NotFound(f'no agent named "{target}"; there are: {listing(self._agents)}'))

    def _next(self, hosted: Hosted) -> None:
        """Gives an agent the next task that waits for it or its kind, unless it stands still."""
        if hosted.paused_at is not None or hosted.remaking:
            return
        assignment = self._pools[hosted.kind.name].take(hosted)
        if assignment is not None:
            assignment.task = self.start_task(self._work(hosted, assignment), name=f"work-{hosted.name}")
            assignment.task.add_done_callback(lambda task: self._cancelled(task, hosted, assignment))
            assignment.reply.on_cancel(assignment.task.cancel)

    def _cancelled(self, task: "asyncio.Task[None]", hosted: Hosted, assignment: Assignment) -> None:
        """The asker gave up, or was answered by `_cut_short`: the agent is free. Otherwise the host itself ends."""
        if task.cancelled() and assignment.reply.done and hosted.busy is assignment and self.ref.alive:
            self._end_work(hosted, assignment.why or "cancelled")

    async def _work(self, hosted: Hosted, assignment: Assignment) -> None:
        """One task on one agent, from its start to its reply."""
        now, accounts = self.system.now(), self._accounts
        account = accounts.begin(hosted.name, hosted.kind.config, now, assignment.number, assignment.asker)
        try:
            if over := accounts.out_of_time(account, now):
                raise over
            self._watch_time(hosted)
            answer = await self._perform(hosted, assignment)
        except Refusal as refusal:
            error = self._why(hosted, account, refusal)
            account = self._end_work(hosted, str(error))
            if assignment.number is None:
                assignment.reply.fail(error)
            else:
                final = not isinstance(error, NodeStopping | ReplayDiverged)
                assignment.reply.send(Finished(hosted.name, None, str(error), account, final))
        else:
            account = self._end_work(hosted)
            assignment.reply.send(answer if assignment.number is None else Finished(hosted.name, answer, "", account))

    async def _perform(self, hosted: Hosted, assignment: Assignment) -> Any:
        """The agent's answer; under a journal, if it did all that the journal holds."""
        if self._journal is None or not assignment.key:
            return await hosted.ref.ask(Perform(assignment.input))
        session = await self._journal.begin(hosted.name, assignment.key)
        answer = await hosted.ref.ask(Perform(assignment.input))
        session.end()
        return answer

    def _end_work(self, hosted: Hosted, error: str = "") -> Account:
        """The agent's task is over: its account is closed, its children end, and it takes the next task."""
        hosted.busy = None
        if self._journal is not None:
            self._journal.end(hosted.name)
        self.timers.cancel(hosted.name)
        self._end_children(hosted)
        self._waits.forget(hosted.name)
        account = self._accounts.end(hosted.name, error)
        if hosted.name in self._agents:
            self._next(hosted)
        return account

    def _why(self, hosted: Hosted, account: Account, refusal: Refusal) -> Refusal:
        """What to tell the asker of a task that failed: its time is over, or the agent died, or what it was refused."""
        if isinstance(refusal, DeadlineExceeded):
            return self._accounts.out_of_time(account, self.system.now()) or refusal
        if not isinstance(refusal, ActorDied):
            return refusal
        cause = refusal.__cause__
        log.warning("agent failed", agent=hosted.name, exc_info=cause)
        why = f"{type(cause).__name__}: {cause}" if cause else str(refusal)
        return AgentFailed(f"agent {hosted.name!r} failed: {why}")

    def _members(self, target: str) -> Collection[str]:
        """Names of the agents that a task for this agent or kind can go to."""
        if target in self._agents:
            return (target,)
        pool = self._pools.get(target)
        return [hosted.name for hosted in pool.members] if pool else ()

    def _refuse_cycle(self, caller: str, target: str) -> None:
        """Raises WaitCycle if every agent that could do the task already waits, directly or not, for the caller."""
        if way := self._waits.circle(caller, target):
            circle = " -> ".join((*way, target))
            raise WaitCycle(f"agent {caller!r} cannot ask {target!r}, which already waits for it: {circle}")

    @handler
    async def spawn_agent(self, call: SpawnAgent) -> str:
        """Makes an agent that belongs to the caller and ends with the caller's task."""
        pool = self._pools.get(call.kind)
        if pool is None:
            raise NotFound(f'no agent "{call.kind}" in the config; there are: {listing(self._pools)}')
        maker = self._agents.get(self.caller)
        child = await self._make(pool, self.caller, call.name)
        if maker is not None:
            maker.children.append(child)
            if maker.paused_at is not None:
                self._hold([child])
        return child.name

    @handler
    def list_agents(self, call: ListAgents) -> tuple[AgentInfo, ...]:
        """All agents."""
        return tuple(
            AgentInfo(h.name, h.kind.description, "running" if h.busy else "idle", h.parent)
            for h in self._agents.values()
        )

    @handler
    def refuse_tasks(self, message: RefuseTasks) -> None:
        """Lets running tasks end, and no other begin."""
        self._refusing = True
        for pool in self._pools.values():
            for assignment in pool.drain():
                assignment.reply.fail(NodeStopping("the node is shutting down; this task had not begun"))

    @handler
    def end_tasks(self, message: EndTasks) -> None:
        """Ends what still runs; what an agent was asked by another ends with the asker's own."""
        error = NodeStopping("the node was shut down before this task ended")
        for hosted in self._agents.values():
            self._cut_short(hosted, error)
