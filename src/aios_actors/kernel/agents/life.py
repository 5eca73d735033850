"""The life of agents as actors: they are made, paused, resumed, killed, and end with the task for which they were made.

What an agent holds when it ends or is paused is let go of by those who gave it: its asks are cancelled or put aside,
and with them its places in lines, on workers and at tools. How agents get their tasks is in `host`.
"""

from abc import abstractmethod
from collections.abc import Mapping

import structlog

from aios_actors.actors import Backoff, ChildSpec, Refusal, StartFailed, SupervisorSpec, handler
from aios_actors.kernel.access import AgentRights, Register, Unregister
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.agents.listing import listing
from aios_actors.kernel.agents.messages import AgentKind, Finished, Kill, OutOfTime, Pause, Resume
from aios_actors.kernel.agents.pool import Hosted, Pool
from aios_actors.kernel.context import ForgetOwner
from aios_actors.kernel.llm_core import ForgetAgent
from aios_actors.kernel.scheduler.messages import Hold, Release
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls.errors import AgentFailed, AgentKilled, NodeStopping, NotFound

log = structlog.get_logger(__name__)


class AgentLife(KernelActor):
    """Base of the agent host: makes and ends agents, and lets them stand still."""

    # A crash ends one task of one agent; however many do, no other agent is to suffer for it.
    supervision = SupervisorSpec(intensity=1_000_000, backoff=Backoff(initial_s=0.0, max_s=0.0))

    def __init__(self, kinds: Mapping[str, AgentKind], accounts: Accounts) -> None:
        """`kinds`: the config's agents by name."""
        self._accounts = accounts
        self._pools = {name: Pool(kind) for name, kind in kinds.items()}
        self._agents: dict[str, Hosted] = {}
        self._paused_at: float | None = None

    @abstractmethod
    def _next(self, hosted: Hosted) -> None:
        """Gives an agent its next task, unless it stands still."""

    # --- made and ended

    async def _make(self, pool: Pool, parent: str, wanted: str = "") -> Hosted:
        """Makes an agent; `wanted` is the name that it had before the node ended, if there is no other of that name."""
        kind = pool.kind
        name = wanted if wanted and wanted not in self._agents else pool.new_name(child=bool(parent))
        while name in self._agents:
            name = pool.new_name(child=bool(parent))
        rights = AgentRights(name, kind.tools, kind.config.delegates, kind=kind.name, parent=parent)
        await self.system.actor_of("access").ask(Register(rights))
        spec = ChildSpec(factory=kind.make, args=(name,), name=name, restart="permanent")
        hosted = self._agents[name] = Hosted(name, kind, spec, await self.spawn(spec), parent)
        return hosted

    def _end_children(self, hosted: Hosted) -> None:
        """The agents that it made for its task end with the task."""
        for child in hosted.children:
            self._end_children(child)
            self._end_child(child, AgentFailed(f"agent {child.name!r} has ended with the task it was made for"))
        hosted.children.clear()

    def _end_child(self, child: Hosted, error: Refusal) -> None:
        """An agent that another made ends for good; `error` is for who waits for its turn."""
        del self._agents[child.name]
        child.ref.kill()
        self._accounts.gone(child.name, child.kind.name)
        self.system.actor_of("access").tell(Unregister(child.name))
        self.system.actor_of("llm_core").tell(ForgetAgent(child.name))
        self.system.actor_of("context").tell(ForgetOwner(child.name))
        self._release([child])
        for assignment in child.queue:
            assignment.reply.fail(error)

    def _cut_short(self, hosted: Hosted, error: Refusal) -> None:
        """Ends the task that an agent works on, if any: its asker gets `error`, what it waits for is cancelled."""
        work = hosted.busy
        if work is None or work.task is None:
            return
        work.why = str(error)
        if work.number is None:
            work.reply.fail(error)
        else:
            final = not isinstance(error, NodeStopping)
            work.reply.send(Finished(hosted.name, None, work.why, self._accounts.of(hosted.name), final))
        work.task.cancel()

    # --- pause, resume, kill

    @handler
    def pause(self, message: Pause) -> None:
        """Lets agents stand still: they take no task, their time stops, and the scheduler holds what they ask for."""
        names = self._hold(self._named(message.agent))
        if not message.agent and self._paused_at is None:
            self._paused_at = self.system.now()
        self.forward(self.system.actor_of("scheduler"), Hold(names))

    @handler
    def resume(self, message: Resume) -> None:
        """Lets paused agents go on."""
        if not message.agent and self._paused_at is not None:
            run = self._accounts.run
            if run.began is not None:
                run.began += self.system.now() - max(self._paused_at, run.began)
            self._paused_at = None
        self._release(self._named(message.agent))

    @handler
    def kill(self, message: Kill) -> None:
        """Ends what agents do."""
        named = self._named(message.agent)
        error = AgentKilled(f"agent {message.agent!r} was killed" if message.agent else "the run was killed")
        if not message.agent:
            for assignment in [waiting for pool in self._pools.values() for waiting in pool.drain()]:
                assignment.reply.fail(error)
        for hosted in named:
            self._cut_short(hosted, error)
        self._release(named)
        for hosted in named:
            if hosted.parent:
                self._leave_maker(hosted)
                self._end_child(hosted, error)
            elif not hosted.remaking:
                hosted.remaking = True
                self._pools[hosted.kind.name].sit_out(hosted)
                self.start_task(self._make_anew(hosted), name=f"anew-{hosted.name}")

    async def _make_anew(self, hosted: Hosted) -> None:
        """A fresh actor takes the place of one that was killed; if it does not start, there is one agent fewer."""
        hosted.ref.kill()
        await hosted.ref.join()
        try:
            hosted.ref = await self.spawn(hosted.spec)
        except StartFailed as error:
            log.error("a killed agent could not be made anew", agent=hosted.name, error=str(error))
            pool = self._pools[hosted.kind.name]
            pool.leave(hosted)
            del self._agents[hosted.name]
            for assignment in (*hosted.queue, *(() if pool.members else pool.drain())):
                assignment.reply.fail(AgentFailed(f"agent {hosted.name!r} was killed and did not start again: {error}"))
            return
        hosted.remaking = False
        if hosted.busy is None:
            self._next(hosted)

    def _leave_maker(self, hosted: Hosted) -> None:
        maker = self._agents.get(hosted.parent)
        if maker is not None and hosted in maker.children:
            maker.children.remove(hosted)

    def _named(self, agent: str) -> list[Hosted]:
        """An agent with all that it made, or all agents. Raises NotFound."""
        if not agent:
            return list(self._agents.values())
        if agent not in self._agents:
            raise NotFound(f'no agent named "{agent}"; there are: {listing(self._agents)}')
        return list(self._agents[agent].tree())

    def _hold(self, named: list[Hosted]) -> frozenset[str]:
        """Pauses the agents that are not paused yet. Returns the names of all."""
        now = self.system.now()
        for hosted in named:
            if hosted.paused_at is None:
                hosted.paused_at = now
                self._accounts.paused.add(hosted.name)
                self.timers.cancel(hosted.name)
                self._pools[hosted.kind.name].sit_out(hosted)
        return frozenset(hosted.name for hosted in named)

    def _release(self, named: list[Hosted]) -> None:
        """Lets agents go on; the time that they stood still does not count against their budgets."""
        now = self.system.now()
        paused = [hosted for hosted in named if hosted.paused_at is not None]
        for hosted in paused:
            account = self._accounts.of(hosted.name)
            if hosted.busy is not None and account.began is not None and hosted.paused_at is not None:
                account.began += now - max(hosted.paused_at, account.began)
            hosted.paused_at = None
            self._accounts.paused.discard(hosted.name)
        for hosted in paused:
            if hosted.busy is not None:
                self._watch_time(hosted)
            elif hosted.name in self._agents:
                self._next(hosted)
        if paused:
            self.system.actor_of("scheduler").tell(Release(frozenset(hosted.name for hosted in paused)))

    # --- time

    def _watch_time(self, hosted: Hosted) -> None:
        """Sees to it that the agent's task ends when its seconds are over."""
        end = self._accounts.of(hosted.name).end()
        if end is not None and hosted.paused_at is None:
            self.timers.start(hosted.name, max(end - self.system.now(), 0.0), OutOfTime(hosted.name))

    @handler
    def out_of_time(self, message: OutOfTime) -> None:
        """Ends a task whose seconds are over."""
        hosted = self._agents.get(message.agent)
        if hosted is None or hosted.busy is None or hosted.paused_at is not None:
            return
        over = self._accounts.out_of_time(self._accounts.of(hosted.name), self.system.now())
        if over is not None:
            self._cut_short(hosted, over)
        else:
            self._watch_time(hosted)
