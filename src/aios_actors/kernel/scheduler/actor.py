"""The scheduler: the one door to the kernel.

Each syscall is checked with the access actor. One for another service is forwarded there, with its reply slot, so that
the answer goes straight back to the agent. An LLM call waits in its model's line until the policy chooses it and a
worker has a place; it then runs until it ends, or until its slice is over, and it waits again.
"""

import contextlib

import structlog
from msgspec.structs import asdict

from aios_actors.actors import MailboxSpec, Refusal, Reply, UnknownActor, handler
from aios_actors.config.structs import SchedulerConfig
from aios_actors.engine.messages import ChatPrompt
from aios_actors.engine.protocol import Result
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.journal import Journal
from aios_actors.kernel.llm_core.messages import Capacity, EmbedTexts, Outcome, PreemptJob, TellCapacity
from aios_actors.kernel.scheduler.admission import admit, ticket_of
from aios_actors.kernel.scheduler.door import Door
from aios_actors.kernel.scheduler.grants import Grants
from aios_actors.kernel.scheduler.job import Job
from aios_actors.kernel.scheduler.line import Line, Turn
from aios_actors.kernel.scheduler.messages import Hold, ListLines, Release, SetPolicy, state_of
from aios_actors.kernel.scheduler.policies import UnknownPolicy, find_policy
from aios_actors.kernel.scheduler.switch import ContextSwitch
from aios_actors.observe.state import ModelState
from aios_actors.syscalls.errors import BudgetExceeded, GenerationFailed, InvalidArgument, ModelUnavailable, NotFound
from aios_actors.syscalls.llm import Chat, ChatReply, Embed

RESTARTS = 3
"""A generation under which more workers than this died is not tried again: it may be what kills them."""


class Scheduler(Door):
    """Checks, queues and forwards syscalls."""

    mailbox = MailboxSpec(capacity=16_384, stash=65_536)

    def __init__(
        self,
        config: SchedulerConfig,
        policies: dict[str, str],
        accounts: Accounts,
        held: set[str] | None = None,
        journal: Journal | None = None,
    ) -> None:
        """`policies`: name of the policy of each model that workers serve; `held`: names of paused agents. Both outlive
        the actor, so that a restart forgets no `SetPolicy` and no `Hold`. `journal`: of the run, if it has one.
        """
        super().__init__(accounts, held)
        self._config = config
        self._policies = policies
        self._lines = {model: Line(config, find_policy(name)(config), name=name) for model, name in policies.items()}
        self._jobs: dict[int, Job] = {}
        self._grants = Grants(accounts)
        self._switch = ContextSwitch(self._service, journal)
        self._quiet: list[tuple[frozenset[str], Reply[None]]] = []
        self._log = structlog.get_logger(__name__).bind()  # a logger that is not bound is made anew for each line

    async def started(self) -> None:
        """Asks for the workers' places; those of workers that become ready later are told anyhow."""
        with contextlib.suppress(UnknownActor):
            self._service("llm_core").tell(TellCapacity())

    @handler
    async def chat(self, call: Chat) -> None:
        """Puts an LLM call into its model's line."""
        caller = await self._check(call)
        line = self._line(call.model)
        if line.error:
            raise ModelUnavailable(line.error)
        account = self._accounts.of(caller)
        ticket = ticket_of(call, self.request_id, caller, account, self.system.now(), self.deadline)
        admit(line, ticket, call.model, self._config.queue)
        reply: Reply[ChatReply] = self.defer()
        if reply.done:  # the caller has given up already
            return
        job = Job(ticket, line, account, call, reply, ChatPrompt(call.messages, call.tools))
        job.journalled = self._switch.name(caller, call.number)
        self._jobs[job.id] = job
        reply.on_cancel(lambda: self._cancel(job))
        self._accounts.note(caller, "waiting")
        line.policy.add(ticket)
        self._dispatch(line)

    @handler
    async def embed(self, call: Embed) -> None:
        """Passes texts on to be embedded; they wait in no line, because a worker computes them between its steps."""
        caller = await self._check(call)
        if error := self._line(call.model).error:
            raise ModelUnavailable(error)
        self.forward(self._service("llm_core"), EmbedTexts(self.request_id, caller, call.model, call.texts))

    def _line(self, model: str) -> Line:
        line = self._lines.get(model)
        if line is None:
            raise NotFound(f"no model named {model!r}; the workers of this node serve: {', '.join(self._lines)}")
        return line

    @handler
    def set_policy(self, message: SetPolicy) -> None:
        """Another policy takes over a model's line."""
        line = self._line(message.model)
        try:
            policy = find_policy(message.policy)(self._config)
        except (UnknownPolicy, ImportError) as error:
            raise InvalidArgument(str(error)) from error
        self._policies[message.model] = message.policy
        line.swap(policy, message.policy, self.system.now())
        self._log.info("policy set", model=message.model, policy=message.policy, waiting=len(policy))
        self._dispatch(line)

    @handler
    def list_lines(self, message: ListLines) -> tuple[ModelState, ...]:
        """How long the lines are."""
        return tuple(state_of(model, line) for model, line in self._lines.items())

    @handler
    def capacity(self, message: Capacity) -> None:
        """The workers of a model have become more or fewer."""
        line = self._lines[message.model]
        line.places, line.error = message.places, message.error
        others = self._grants.readmit(self._lines.values()) if line.error else []
        if line.error:
            for ticket in line.drain(self.system.now()):
                self._fail(self._jobs[ticket.id], ModelUnavailable(line.error))
        for each in (line, *others):
            self._dispatch(each)

    @handler
    def hold(self, message: Hold) -> None:
        """Pauses agents: their calls leave lines and workers, and what they ask for from now on is put aside."""
        self._held |= message.agents
        now = self.system.now()
        for job in self._jobs.values():
            if job.caller not in message.agents or job.held_at is not None:
                continue
            if job.on_worker:
                self._service("llm_core").tell(PreemptJob(job.id))
            elif job.id not in job.line.running:
                job.held_at = now
                self._grants.drop(job)
                job.line.set_aside(job.ticket, now)
        self._quiet.append((message.agents, self.defer()))
        self._tell_quiet()

    @handler
    def release(self, message: Release) -> None:
        """Lets paused agents go on, from where they were."""
        self._held -= message.agents
        now = self.system.now()
        for job in [job for job in self._jobs.values() if job.caller in message.agents and job.held_at is not None]:
            held_at, job.held_at = job.held_at or now, None
            if job.line.error:
                self._fail(job, ModelUnavailable(job.line.error))
            else:
                job.line.readmit(job.ticket, now, now - held_at)
        for line in self._lines.values():
            self._dispatch(line)
        self.unstash_all()
        self._tell_quiet()

    def _tell_quiet(self) -> None:
        """Answers those who wait for paused agents to be off the workers."""
        running = {job.caller for job in self._jobs.values() if job.id in job.line.running} if self._quiet else set()
        waiting, self._quiet = self._quiet, []
        for agents, reply in waiting:
            if agents & self._held & running:
                self._quiet.append((agents, reply))
            else:
                reply.send(None)

    def _cancel(self, job: Job) -> None:
        """Nobody waits for the job any more: it leaves the line, or its worker, which is told through its task.

        What the context actor has of it stays if a run that is resumed may ask for it again.
        """
        del self._jobs[job.id]
        if not job.journalled:
            self._switch.forget(job)
        self._grants.drop(job)
        if job.line.leave(job.ticket, self.system.now()) and job.task is not None:
            job.task.cancel()
            self._end_turn(job)
        self._tell_quiet()

    def _dispatch(self, line: Line) -> None:
        """Gives the free places away, and one more if a running call is to make room."""
        while (ticket := line.take(self.system.now())) is not None:
            job = self._jobs[ticket.id]
            if self._grant(job):
                job.task = self.start_task(self._run(job), name=f"job-{job.id}")
        if (victim := line.urge()) is not None and self._jobs[victim.id].on_worker:
            self._service("llm_core").tell(PreemptJob(victim.id))

    def _grant(self, job: Job) -> bool:
        """Sets aside what a turn may use of its budgets. False if it has to wait for that, or has failed."""
        now = self.system.now()
        try:
            return self._grants.grant(job, now)
        except BudgetExceeded as error:
            job.line.leave(job.ticket, now)
            self._fail(job, error)
            return False

    def _end_turn(self, job: Job) -> None:
        """Gives back what a turn did not use of its budgets, and its place: others go on."""
        job.on_worker = False
        self._grants.take_back(job)
        lines = self._grants.readmit(self._lines.values())
        for line in (job.line, *lines):
            self._dispatch(line)

    async def _run(self, job: Job) -> None:
        """One turn of a job on a worker, and what follows from how it ended."""
        try:
            request = await self._switch.request(job)
            if job.line.leaving == job.id or job.caller in self._held:  # taken back before it was handed over
                outcome = Outcome("no_place", request.generated)
            else:
                job.on_worker = True
                outcome = await self._service("llm_core").ask(request)
        except Refusal as error:
            job.line.leave(job.ticket, self.system.now())
            self._fail(job, error)
        else:
            self._settle(job, outcome)
        self._end_turn(job)
        self._tell_quiet()

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """A turn has ended: the call is answered, or waits again, or is given up."""
        line, now = job.line, self.system.now()
        if outcome.finish == "no_place":
            if line.leaving != job.id and job.caller not in self._held:
                # A worker died a moment ago, or one that was cancelled has not left its worker yet.
                line.places = len(line.running) - 1
                self._service("llm_core").tell(TellCapacity())
            self._wait_again(job, None, lost=True)
            return
        turn = self._take_in(job, outcome)
        result, lost = outcome.result, outcome.finish == "lost"
        done = outcome.finish not in ("slice", "lost")
        self._switch.save(job, outcome, done)
        if done and result is not None:
            line.end(job.ticket, now, turn)
            self._answer(job, outcome.finish, result)
            return
        self._log.info(
            "llm call switched", agent=job.caller, syscall=job.id, why=outcome.finish, tokens=len(outcome.generated)
        )
        job.restarts += lost
        job.preemptions += not lost
        if job.restarts > RESTARTS:
            line.leave(job.ticket, now)
            why = f"{job.restarts} workers died while they ran this call; it is not tried again"
            self._fail(job, GenerationFailed(why))
        else:
            self._wait_again(job, turn, lost=lost)
            self._accounts.note(job.caller, "waiting")

    def _wait_again(self, job: Job, turn: Turn | None, *, lost: bool) -> None:
        """A turn is over: the call waits in its line, or is held if its agent is paused, in which case it keeps its
        place.
        """
        now, held = self.system.now(), job.caller in self._held
        job.line.back(job.ticket, now, turn, lost=lost or held)
        if held:
            job.held_at = now
            job.line.set_aside(job.ticket, now)

    def _take_in(self, job: Job, outcome: Outcome) -> Turn:
        """Notes what a turn brought, and charges its tokens; the prompt's only once, whatever was computed again."""
        told = job.tokens_in
        turn = job.take_in(outcome)
        self._accounts.charge(job.account, "tokens", job.tokens_in - told + turn.generated)
        return turn

    def _answer(self, job: Job, finish: str, result: Result) -> None:
        del self._jobs[job.id]
        usage = job.usage(self.system.now())
        self._log.info("llm call done", agent=job.caller, syscall=job.id, finish=finish, **asdict(usage))
        self._accounts.used(job.caller, usage)
        job.reply.send(ChatReply(result.text, result.tool_calls, finish, usage))

    def _fail(self, job: Job, error: Refusal) -> None:
        self._log.info("llm call failed", agent=job.caller, syscall=job.id, error=str(error))
        del self._jobs[job.id]
        self._switch.forget(job)
        job.reply.fail(error)
