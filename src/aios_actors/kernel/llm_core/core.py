"""The LLM core: which worker runs which generation, and what happens when one dies.

It takes `Generate` from the scheduler, which never hands out more than the workers have places for, chooses a worker,
and answers when that stretch of the generation has ended. A generation whose worker dies is answered with what it had
generated; the scheduler hands it out again. A worker that dies is started again, after a growing delay, unless it
does so too often or cannot serve at all.
"""

from collections.abc import Sequence
from pathlib import Path

import structlog

from aios_actors.actors import Actor, Backoff, Down, MailboxSpec, Reply, handler
from aios_actors.engine.protocol import Cancel, Event, Forget, Hold, Preempt
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.llm_core.affinity import Affinity
from aios_actors.kernel.llm_core.embeddings import EmbeddingRequests
from aios_actors.kernel.llm_core.generation import Generation
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
    Stepped,
    TellCapacity,
    TextsEmbedded,
    WorkerReady,
    WorkerState,
    WorkerUnfit,
)
from aios_actors.kernel.llm_core.worker import PERIOD_S, Worker
from aios_actors.syscalls.errors import ModelUnavailable

log = structlog.get_logger(__name__)


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
        self._embeddings = EmbeddingRequests(self._serving, lambda n, frame: self._workers[n].pass_on(frame))
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
        generation = worker.running[message.id] = Generation(message, reply)
        self._where[message.id] = number
        reply.on_cancel(lambda: self._abort(message.id))
        worker.pass_on(generation.frame())

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
            generation = worker.running.pop(job)
            if generation.request.account is not None:
                self._accounts.charge(generation.request.account, "tokens", generation.new)
            worker.pass_on(Cancel(job))

    @handler
    def preempt(self, message: PreemptJob) -> None:
        """Takes a generation off its worker."""
        number = self._where.get(message.id)
        if number is not None:
            self._workers[number].pass_on(Preempt(message.id))

    @handler
    def agent_waits(self, message: AgentWaits) -> None:
        """Lets the workers know when an agent's conversations are expected to go on."""
        for conversation, number in self._affinity.homes(message.agent).items():
            self._workers[number].pass_on(Hold(conversation, message.seconds))

    @handler
    def forget_agent(self, message: ForgetAgent) -> None:
        """Lets the workers drop the KV of an agent that has ended."""
        for conversation, number in self._affinity.forget(message.agent).items():
            self._workers[number].pass_on(Forget(conversation))

    @handler
    def step(self, message: Stepped) -> None:
        """Hands out what a step of a worker brought."""
        worker = self._workers[message.worker]
        for event in message.events:
            generation = worker.running.get(event.id)
            if generation is not None:
                self._advance(worker, generation, event)

    def _advance(self, worker: Worker, generation: Generation, event: Event) -> None:
        if event.tokens:
            self._accounts.streamed(generation.request.caller, len(event.tokens))
        generation.take(event)
        if event.finish:
            del worker.running[event.id]
            self._where.pop(event.id, None)
            generation.end(event)

    @handler
    async def worker_ready(self, message: WorkerReady) -> None:
        """A worker serves."""
        worker = self._workers[message.worker]
        worker.ready(message.info, message.pid)
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
        worker.gone()
        await self._tell_capacity(worker.spec.name)
        lost, worker.running = worker.running, {}
        for generation in lost.values():
            self._where.pop(generation.request.id, None)
            generation.lose()
        self._embeddings.lost(number)
        if worker.error:
            return
        hopeless = worker.died(self.system.now())
        log.warning("worker died", worker=number, cause=str(message.exit), lost=len(lost), deaths=len(worker.deaths))
        if hopeless:
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
