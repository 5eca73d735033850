"""The scheduler: the one door to the kernel.

Each syscall is checked with the access actor. One for another service is forwarded there, with its reply slot, so that
the answer goes straight back to the agent. An LLM call waits in its model's line until the policy chooses it and a
worker has a place; it then runs until it ends, or until its slice is over, and it waits again.
"""

import contextlib
from collections.abc import Iterable
from typing import Any

import structlog
from msgspec.structs import asdict

from aios_actors.actors import ActorRef, MailboxSpec, Refusal, Reply, UnknownActor, handler
from aios_actors.config.structs import SchedulerConfig
from aios_actors.engine.messages import ChatPrompt, TokenPrompt
from aios_actors.kernel.access import Check
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.context import Forget, Latest, Load, Save
from aios_actors.kernel.llm_core.messages import Capacity, Generate, Outcome, TellCapacity
from aios_actors.kernel.scheduler.job import Job
from aios_actors.kernel.scheduler.line import Line
from aios_actors.kernel.scheduler.policies import make_policy
from aios_actors.kernel.service import KernelActor
from aios_actors.syscalls import agent, context, memory, storage, tool
from aios_actors.syscalls.base import Syscall
from aios_actors.syscalls.errors import Busy, GenerationFailed, ModelUnavailable, NotFound
from aios_actors.syscalls.llm import Chat, ChatReply

log = structlog.get_logger(__name__)

RESTARTS = 3
"""A generation under which more workers than this died is not tried again: it may be what kills them."""

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


class Scheduler(KernelActor):
    """Checks, queues and forwards syscalls."""

    mailbox = MailboxSpec(capacity=16_384)

    def __init__(self, config: SchedulerConfig, models: Iterable[str], accounts: Accounts) -> None:
        """`models`: names of the models that workers serve."""
        self._config = config
        self._lines = {model: Line(make_policy(config)) for model in models}
        self._accounts = accounts

    async def started(self) -> None:
        """Asks for the workers' places; those of workers that become ready later are told anyhow."""
        with contextlib.suppress(UnknownActor):
            self._service("llm_core").tell(TellCapacity())

    async def _check(self, call: Syscall[Any]) -> str:
        """The caller's name, once the access actor has let the call pass. Raises AccessDenied."""
        caller = self.caller
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
        """Forwards to the agent host."""
        await self._check(call)
        self.forward(self._service("agents"), call)

    @handler
    async def to_tool(self, call: tool.CallTool | tool.ListTools) -> None:
        """Forwards to the tool actor, and counts calls."""
        caller = await self._check(call)
        if isinstance(call, tool.CallTool):
            self._accounts.tool(caller, call.name)
        self.forward(self._service("tool"), call)

    @handler
    async def chat(self, call: Chat) -> None:
        """Puts an LLM call into its model's line."""
        caller = await self._check(call)
        line = self._lines.get(call.model)
        if line is None:
            raise NotFound(f"no model named {call.model!r}; the workers of this node serve: {', '.join(self._lines)}")
        if line.error:
            raise ModelUnavailable(line.error)
        if len(line.policy) >= self._config.queue:
            raise Busy(
                f"{len(line.policy)} LLM calls wait for model {call.model!r}, which is its limit; try again later"
            )
        reply: Reply[ChatReply] = self.defer()
        now = self.system.now()
        prompt = ChatPrompt(call.messages, call.tools)
        job = Job(self.request_id, caller, call, reply, prompt, arrived=now, waits_since=now)
        reply.on_cancel(lambda: self._cancel(line, job))
        self._accounts.note(caller, "waiting")
        line.policy.add(job)
        self._dispatch(line)

    @handler
    def capacity(self, message: Capacity) -> None:
        """The workers of a model have become more or fewer."""
        line = self._lines[message.model]
        line.places, line.error = message.places, message.error
        if line.error:
            for job in line.drain():
                self._fail(job, ModelUnavailable(line.error))
        self._dispatch(line)

    def _cancel(self, line: Line, job: Job) -> None:
        """Nobody waits for the job any more: it leaves the line, or its worker, which is told through its task."""
        line.policy.remove(job)
        self._forget(job)
        if line.running.pop(job.id, None) is not None and job.task is not None:
            job.task.cancel()
            self._dispatch(line)

    def _dispatch(self, line: Line) -> None:
        while (job := line.take()) is not None:
            job.run(self.system.now())
            job.task = self.start_task(self._run(line, job), name=f"job-{job.id}")

    async def _run(self, line: Line, job: Job) -> None:
        """One stretch of a job on a worker, and what follows from how it ended."""
        try:
            outcome = await self._service("llm_core").ask(await self._request(line, job))
        except Refusal as error:
            self._fail(job, error)
        else:
            self._settle(line, job, outcome)
        line.running.pop(job.id, None)
        self._dispatch(line)

    async def _request(self, line: Line, job: Job) -> Generate:
        """What the LLM core is asked for: the call itself, or what is left of it after a switch."""
        call, generated = job.call, tuple[int, ...]()
        if job.switched:
            kept = await self._service("context").ask(Load(job.name))
            generated = kept.tokens[len(kept.tokens) - kept.generated :]
        elif not call.messages:
            kept = await self._service("context").ask(Latest(job.caller, call.conversation))
            split = len(kept.tokens) - kept.generated
            job.prompt, generated = TokenPrompt(kept.tokens[:split], call.tools), kept.tokens[split:]
        return Generate(
            id=job.id,
            caller=job.caller,
            model=call.model,
            prompt=job.prompt,
            sampling=call.sampling,
            constraint=call.constraint,
            generated=generated,
            conversation=f"{job.caller}/{call.conversation}",
            slice=line.policy.slice,
            on_text=call.on_text,
        )

    def _settle(self, line: Line, job: Job, outcome: Outcome) -> None:
        now = self.system.now()
        if outcome.finish == "no_place":
            # A worker died a moment ago, and the news of it is on the way here.
            line.places = len(line.running) - 1
            job.wait(now)
            line.policy.requeue(job, lost=True)
            return
        result = outcome.result
        job.tokens_out = len(outcome.generated)
        if result is not None:
            job.waited += result.queue_s
            if not job.switched:
                job.tokens_in, job.tokens_cached = result.tokens_in, result.tokens_cached
            job.prompt = TokenPrompt(result.prompt_tokens, job.call.tools)
        done = outcome.finish not in ("slice", "lost")
        self._save(job, outcome, done)
        if done and result is not None:
            usage = job.usage(now)
            log.info("llm call done", agent=job.caller, syscall=job.id, finish=outcome.finish, **asdict(usage))
            self._accounts.used(job.caller, usage)
            job.reply.send(ChatReply(result.text, result.tool_calls, outcome.finish, usage))
            return
        lost = outcome.finish == "lost"
        log.info("llm call switched", agent=job.caller, syscall=job.id, why=outcome.finish, tokens=job.tokens_out)
        job.restarts += lost
        job.preemptions += not lost
        if job.restarts > RESTARTS:
            why = f"{job.restarts} workers died while they ran this call; it is not tried again"
            self._fail(job, GenerationFailed(why))
        elif not job.reply.done:
            job.wait(now)
            self._accounts.note(job.caller, "waiting")
            line.policy.requeue(job, lost=lost)

    def _fail(self, job: Job, error: Refusal) -> None:
        log.info("llm call failed", agent=job.caller, syscall=job.id, error=str(error))
        self._forget(job)
        job.reply.fail(error)

    def _forget(self, job: Job) -> None:
        """What a switched job left with the context actor is of no more use."""
        if job.switched:
            self._service("context").tell(Forget(job.name))

    def _save(self, job: Job, outcome: Outcome, done: bool) -> None:
        prompt = outcome.result.prompt_tokens if outcome.result else ()
        call = job.call
        self._service("context").tell(
            Save(job.name, job.caller, call.conversation, call.model, prompt, outcome.generated, done)
        )
