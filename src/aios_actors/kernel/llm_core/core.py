"""The LLM core: which worker runs which generation, and what happens when one dies.

It takes `Generate` from the scheduler, which never hands out more than the workers have places for, chooses a worker,
and answers when that stretch of the generation has ended. A generation whose worker dies is answered with what it had
generated; the scheduler hands it out again. A worker that dies is started again, after a growing delay, unless it
does so too often or cannot serve at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from aios_actors.actors import Actor, ActorRef, Backoff, Down, MailboxSpec, Reply, handler
from aios_actors.engine.protocol import Cancel, Event, Forget, Hold, Preempt, Submit
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.llm_core.affinity import Affinity
from aios_actors.kernel.llm_core.embeddings import EmbeddingRequests
from aios_actors.kernel.llm_core.link import WorkerLink
from aios_actors.kernel.llm_core.messages import (
    AgentWaits,
    AwaitReady,
    Capacity,
    EmbedTexts,
    ForgetAgent,
    Generate,
    ListWorkers,
    Outcome,
    PreemptJob,
    Restart,
    Send,
    Stepped,
    TellCapacity,
    TextsEmbedded,
    WorkerReady,
    WorkerState,
    WorkerUnfit,
)
from aios_actors.syscalls.errors import ContextOverflow, GenerationFailed, ModelUnavailable

log = structlog.get_logger(__name__)

RESTARTS, PERIOD_S = 5, 60.0
"""A worker that dies more than this often within this many seconds is given up."""


@dataclass(slots=True)
class Running:
    """A generation on a worker; `on_text` is its listener, until that fails."""

    request: Generate
    reply: Reply[Outcome]
    generated: list[int]
    on_text: Callable[[str], None] | None


@dataclass(slots=True)
class Worker:
    """What the core knows of one worker."""

    spec: WorkerSpec
    link: ActorRef | None = None
    info: ModelInfo | None = None
    pid: int = 0
    error: str = ""
    deaths: list[float] = field(default_factory=list)
    running: dict[int, Running] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Generations that it can run at the same time."""
        return self.info.sequences if self.info else 0


class LlmCore(Actor):
    """Routes generations to workers."""

    mailbox = MailboxSpec(capacity=8192)

    def __init__(
        self,
        workers: Sequence[WorkerSpec],
        folder: Path,
        accounts: Accounts,
        hang_s: float = 60.0,
        arguments: tuple[str, ...] = (),
    ) -> None:
        """Makes a core.

        Args:
            workers: what to start; `name` is the model's.
            folder: for the workers' sockets.
            accounts: told of new tokens.
            hang_s: a worker that says nothing for this long, up to twice as long, is killed and started again.
            arguments: of the workers' command line, beside the socket.
        """
        self._workers = [Worker(spec) for spec in workers]
        self._folder = folder
        self._accounts = accounts
        self._hang_s = hang_s
        self._arguments = arguments
        self._where: dict[int, int] = {}
        self._affinity = Affinity()
        self._backoff = Backoff(initial_s=0.5, max_s=10.0)
        self._embeddings = EmbeddingRequests(self._serving, lambda n, frame: self._pass(self._workers[n], Send(frame)))
        self._ready_waiters: list[Reply[tuple[ModelInfo, ...]]] = []

    async def started(self) -> None:
        """Starts all workers."""
        for number in range(len(self._workers)):
            await self._start(number)

    async def _start(self, number: int) -> None:
        worker = self._workers[number]
        worker.link = await self.spawn(
            WorkerLink, number, worker.spec, self._folder, self.ref, self._hang_s, self._arguments
        )
        self.monitor(worker.link)

    @handler
    def await_ready(self, message: AwaitReady) -> None:
        """Answers when all workers serve."""
        self._ready_waiters.append(self.defer())
        self._answer_waiters()

    @handler
    async def tell_capacity(self, message: TellCapacity) -> None:
        """Tells the scheduler all there is."""
        for model in dict.fromkeys(worker.spec.name for worker in self._workers):
            await self._tell_capacity(model)

    @handler
    def list_workers(self, message: ListWorkers) -> tuple[WorkerState, ...]:
        """What every worker does now."""
        return tuple(
            WorkerState(n, w.spec.name, w.pid, w.places, len(w.running), len(w.deaths), w.error)
            for n, w in enumerate(self._workers)
        )

    @handler
    def generate(self, message: Generate) -> None:
        """Puts a generation on a worker."""
        reply: Reply[Outcome] = self.defer()
        number = self._choose(message)
        if number is None:
            reply.send(Outcome("no_place", message.generated))
            return
        worker = self._workers[number]
        worker.running[message.id] = Running(message, reply, list(message.generated), message.on_text)
        self._where[message.id] = number
        reply.on_cancel(lambda: self._abort(message.id))
        frame = Submit(
            id=message.id,
            prompt=message.prompt,
            sampling=message.sampling,
            constraint=message.constraint,
            generated=message.generated,
            conversation=message.conversation,
            slice=message.slice,
            adapters=message.adapters,
            reserve=message.reserve,
        )
        self._pass(worker, Send(frame))

    @handler
    def embed(self, message: EmbedTexts) -> None:
        """Puts an embedding request on a worker."""
        self._embeddings.add(message, self.defer())

    @handler
    def embedded(self, message: TextsEmbedded) -> None:
        """A worker has answered an embedding request."""
        request = self._embeddings.answered(message.embedded)
        if request is not None:
            self._accounts.charge(self._accounts.of(request.caller), "tokens", message.embedded.tokens)

    def _serving(self, model: str) -> list[int]:
        return [n for n, w in enumerate(self._workers) if w.spec.name == model and w.info is not None]

    def _choose(self, request: Generate) -> int | None:
        """A worker of the model that has a place; None if there is none."""
        return self._affinity.choose(
            request,
            {
                n: len(w.running) / w.places
                for n, w in enumerate(self._workers)
                if w.spec.name == request.model and len(w.running) < w.places
            },
        )

    def _abort(self, job: int) -> None:
        """Nobody waits for a generation any more: its worker may stop."""
        number = self._where.pop(job, None)
        if number is not None:
            worker = self._workers[number]
            running = worker.running.pop(job)
            account, before = running.request.account, len(running.request.generated)
            if account is not None:
                self._accounts.charge(account, "tokens", len(running.generated) - before)
            self._pass(worker, Send(Cancel(job)))

    @handler
    def preempt(self, message: PreemptJob) -> None:
        """Takes a generation off its worker."""
        number = self._where.get(message.id)
        if number is not None:
            self._pass(self._workers[number], Send(Preempt(message.id)))

    @handler
    def agent_waits(self, message: AgentWaits) -> None:
        """Lets the workers know when an agent's conversations are expected to go on."""
        for conversation, number in self._affinity.homes(message.agent).items():
            self._pass(self._workers[number], Send(Hold(conversation, message.seconds)))

    @handler
    def forget_agent(self, message: ForgetAgent) -> None:
        """Lets the workers drop the KV of an agent that has ended."""
        for conversation, number in self._affinity.forget(message.agent).items():
            self._pass(self._workers[number], Send(Forget(conversation)))

    @handler
    def step(self, message: Stepped) -> None:
        """Hands out what a step of a worker brought."""
        worker = self._workers[message.worker]
        for event in message.events:
            running = worker.running.get(event.id)
            if running is not None:
                self._advance(worker, running, event)

    def _advance(self, worker: Worker, running: Running, event: Event) -> None:
        if event.tokens:
            running.generated.extend(event.tokens)
            self._accounts.streamed(running.request.caller, len(event.tokens))
        if event.text and running.on_text is not None:
            self._stream(running, running.on_text, event.text)
        if not event.finish:
            return
        del worker.running[event.id]
        self._where.pop(event.id, None)
        result = event.result
        match event.finish:
            case "stop" | "length" | "tool_calls" | "slice":
                tokens = result.tokens if result else tuple(running.generated)
                running.reply.send(Outcome(event.finish, tokens, result))
            case "preempted":
                running.reply.send(Outcome("slice", tuple(running.generated), result))
            case _:
                running.reply.fail(_error(event))

    def _stream(self, running: Running, listener: Callable[[str], None], text: str) -> None:
        """A listener that raises loses its stream, not its answer."""
        try:
            listener(text)
        except Exception:
            running.on_text = None
            request = running.request
            log.exception("listener of streamed text failed", agent=request.caller, syscall=request.id)

    @handler
    async def worker_ready(self, message: WorkerReady) -> None:
        """A worker serves."""
        worker = self._workers[message.worker]
        worker.info, worker.pid = message.info, message.pid
        log.info("worker ready", worker=message.worker, model=message.info.name, sequences=message.info.sequences)
        await self._tell_capacity(worker.spec.name)
        self._embeddings.serve(worker.spec.name)
        self._answer_waiters()

    @handler
    async def worker_unfit(self, message: WorkerUnfit) -> None:
        """A worker said that it cannot serve; trying again would not help."""
        await self._give_up(message.worker, message.message)

    @handler
    async def worker_down(self, message: Down) -> None:
        """A worker ended: its generations are lost, and it is started again unless it was given up."""
        number = next((n for n, w in enumerate(self._workers) if w.link == message.ref), None)
        if number is None:
            return
        worker = self._workers[number]
        worker.link, worker.info, worker.pid = None, None, 0
        await self._tell_capacity(worker.spec.name)
        lost, worker.running = worker.running, {}
        for running in lost.values():
            self._where.pop(running.request.id, None)
            running.reply.send(Outcome("lost", tuple(running.generated)))
        self._embeddings.lost(number)
        if worker.error:
            return
        now = self.system.now()
        worker.deaths = [at for at in worker.deaths if now - at < PERIOD_S] + [now]
        log.warning("worker died", worker=number, cause=str(message.exit), lost=len(lost), deaths=len(worker.deaths))
        if len(worker.deaths) > RESTARTS:
            await self._give_up(
                number, f"its worker died {len(worker.deaths)} times within {PERIOD_S:g} s: {message.exit}"
            )
        else:
            self.timers.start(("restart", number), self._backoff.delay(len(worker.deaths), 0.5), Restart(number))

    @handler
    async def restart_worker(self, message: Restart) -> None:
        """Starts a worker again after its delay."""
        await self._start(message.worker)

    async def _give_up(self, number: int, reason: str) -> None:
        worker = self._workers[number]
        worker.error = f"model {worker.spec.name!r} has no worker: {reason}"
        log.error("worker given up", worker=number, model=worker.spec.name, reason=reason)
        await self._tell_capacity(worker.spec.name)
        self._answer_waiters()

    async def _tell_capacity(self, model: str) -> None:
        workers = [w for w in self._workers if w.spec.name == model]
        hopeless = all(w.error for w in workers)
        error = workers[0].error if hopeless else ""
        if error:
            self._embeddings.give_up(model, ModelUnavailable(error))
        await self.system.actor_of("scheduler").send(Capacity(model, sum(w.places for w in workers), error))

    def _answer_waiters(self) -> None:
        error = next((w.error for w in self._workers if w.error), "")
        infos = tuple(w.info for w in self._workers if w.info)
        if not error and len(infos) < len(self._workers):
            return
        waiters, self._ready_waiters = self._ready_waiters, []
        for reply in waiters:
            if error:
                reply.fail(ModelUnavailable(error))
            else:
                reply.send(infos)

    def _pass(self, worker: Worker, message: Send) -> None:
        """To the worker's link; if that just died, its Down is on the way and settles the matter."""
        if worker.link is not None and worker.link.alive:
            worker.link.tell(message)


def _error(event: Event) -> GenerationFailed:
    """Why a generation ended without a result."""
    fault = event.result.error if event.result else None
    if fault is None:
        return GenerationFailed(f"the generation ended as {event.finish}")
    if fault.code == "prompt_too_long":
        return ContextOverflow(fault.message, fault.tokens, fault.window)
    return GenerationFailed(fault.message)
