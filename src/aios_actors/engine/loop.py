"""The step loop: many requests on one llama.cpp context.

Contract: an `Engine` is a plain object for one thread. `submit`, `cancel` and `preempt` take effect with the next
`step`; a step computes one batch (a token for each decoder, then chunks of prefill within a budget) and returns what
happened. While `has_work` is true the driver calls `step` again; otherwise it may block until a command comes. Every
submitted request ends in exactly one event whose `finish` is set; nothing a single request does ends the engine.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable

import structlog
from msgspec import Struct

from aios_actors.engine.batch import Batch
from aios_actors.engine.choose import choose
from aios_actors.engine.cost import CostModel
from aios_actors.engine.counts import Counts
from aios_actors.engine.disk import SwapFile
from aios_actors.engine.kv import KvCache
from aios_actors.engine.lookup import Speculation
from aios_actors.engine.model import Model, as_array
from aios_actors.engine.pages import PageStore
from aios_actors.engine.plan import Chunk, Planner
from aios_actors.engine.prompts import Prompts
from aios_actors.engine.protocol import (
    Cancel,
    EngineStats,
    Event,
    Fault,
    FinishReason,
    NodeFrame,
    Preempt,
    Result,
    Submit,
)
from aios_actors.engine.sequence import RequestError, Sequence
from aios_actors.engine.spec import ModelInfo

_DONE, _FULL, _ABORTED = 0, 1, 2  # return codes of llama_decode
_WORTH_ABORTING = 32  # tokens of prefill; a batch below that is over before anything else could start


class _Flight(Struct, frozen=True):
    """A batch that is being computed: who is prefilled by it, and their highest priority."""

    prefilling: frozenset[int]
    priority: int


class Engine:
    """Serves requests on `model`."""

    def __init__(
        self, model: Model, clock: Callable[[], float] = time.perf_counter, cost: CostModel | None = None
    ) -> None:
        """`cost`: what decides by measured times, such as how much to prefill and what to page."""
        self.model = model
        self.prompts = Prompts(model)
        self._cost = cost or CostModel()
        disk = SwapFile(model.spec.disk_folder, model.spec.disk_memory)
        pages = PageStore(model.digest, model.spec.host_memory, disk, self._cost, clock)
        cells = model.cells if model.unified else None
        self.kv = KvCache(model, model.slots, model.context_length, pages, self._cost, cells, clock)
        self._clock = clock
        self._log = structlog.get_logger("engine")
        self._batch = Batch(model.batch)
        self._speculation = Speculation(model.spec.speculate if model.can_rewind else "off", split=self.kv.split)
        self._planner = Planner(self.kv, self._batch, self._cost, self._speculation)
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []
        self._live: dict[int, Sequence] = {}
        self._events: list[Event] = []
        self._counts = Counts()
        self._flight: _Flight | None = None

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._live or self._events)

    def info(self) -> ModelInfo:
        """The model and the settings in force."""
        return self.model.info(self.prompts.family.name)

    def submit(self, submit: Submit) -> None:
        """Take a request. One that can never be served ends with an `error` event in the next step."""
        now = self._clock()
        if submit.id in self._live:
            self._refuse(submit.id, RequestError("duplicate_id", f"request {submit.id} is still live"))
            return
        try:
            sequence = self.prompts.sequence(submit, now)
        except RequestError as error:
            self._refuse(submit.id, error)
            return
        except Exception as error:  # whatever one request provokes, the others go on
            self._log.exception("request failed", syscall=submit.id)
            self._refuse(submit.id, RequestError("internal", f"{type(error).__name__}: {error}"))
            return
        self._live[submit.id] = sequence
        # Higher priority first; insort keeps equal ones in order of arrival.
        bisect.insort(self._waiting, sequence, key=lambda s: -s.submit.priority)

    def cancel(self, request: int) -> None:
        """End a request with `cancelled`; an unknown id is ignored."""
        self._interrupt(request, "cancelled")

    def preempt(self, request: int) -> None:
        """End a request with `preempted`, its KV parked; an unknown id is ignored."""
        self._interrupt(request, "preempted")

    def preempt_all(self) -> None:
        """End everything that is live with `preempted`."""
        for request in tuple(self._live):
            self.preempt(request)

    def forget(self, conversation: str) -> None:
        """A conversation is over: its KV may go first."""
        self.kv.forget(conversation)

    def hasten(self, command: NodeFrame) -> None:
        """From any thread: end the batch under way if `command` should not wait for its prefill.

        That is a request of higher priority, or the end of one that is being prefilled. What the batch had computed in
        whole micro-batches is kept.
        """
        flight = self._flight
        if flight is None:
            return
        overtakes = isinstance(command, Submit) and command.priority > flight.priority
        ends = isinstance(command, Cancel | Preempt) and command.id in flight.prefilling
        if overtakes or ends:
            self.model.abort()

    def step(self, meanwhile: Callable[[], None] = lambda: None) -> tuple[Event, ...]:
        """Admit, compute one batch, sample; what happened since the last step.

        `meanwhile` is called while a GPU computes the batch (a CPU has computed it by then); it may give this engine
        commands.
        """
        started = self._clock()
        self._retire()
        self._admit()
        if not self._waiting:
            self.kv.bring_back()
        self._gather()
        plan = self._planner.plan(self._running, self._make_room(), started)
        planned = self._clock()
        if not plan.chunks:
            self._give_up()
        elif self._compute(plan.chunks, meanwhile):
            self._sample([chunk for chunk in plan.chunks if chunk.complete])
            self._cost.observe_step(plan.work, self._clock() - planned)
        self._retire()
        self._counts.step(self._batch.size, self._clock() - started)
        events, self._events = tuple(self._events), []
        return events

    def stats(self) -> EngineStats:
        """Counters since the start, and the state now."""
        return self._counts.stats(self.kv, len(self._running), len(self._waiting))

    def _admit(self) -> None:
        """Give slots to waiting requests, in order, as long as there are any."""
        for sequence in tuple(self._waiting):
            if len(self._running) == self.model.sequences:
                return
            came, went = self.kv.pages.paged_in, self.kv.pages.paged_out
            lease = self.kv.acquire(as_array(sequence.tokens), sequence.submit.conversation, sequence.adapters)
            sequence.pages_in += self.kv.pages.paged_in - came
            sequence.pages_out += self.kv.pages.paged_out - went
            if lease is None and self.kv.crowded:
                return  # else small requests would always overtake a large one
            if lease is None:
                continue
            sequence.slot = lease.slot
            if not sequence.admitted:
                sequence.admitted, sequence.cached = self._clock(), lease.cached
            sequence.lookup = self._speculation.lookup(sequence.tokens)
            sequence.on_device = self.model.sample_on_device(sequence.slot, sequence.plainly_greedy)
            self._counts.cached_tokens += lease.cached
            self._waiting.remove(sequence)
            self._running.append(sequence)

    def _gather(self) -> None:
        """Where it is worth it, let those that run have neighbouring slots."""
        if self.model.spec.device_sampling:
            return  # llama.cpp's samplers would stay behind
        at = {sequence.slot: sequence for sequence in self._running}
        for old, new in self.kv.gather():
            at[old].slot = new

    def _make_room(self) -> int:
        """How many tokens this step may compute; the youngest requests make way while the others could not go on."""
        while True:
            wanted = sum(len(s.tokens) - self.kv.slots[s.slot].length for s in self._running)
            room = self.kv.reserve(min(wanted, self._batch.capacity))
            if room >= len(self._running) or not self._suspend_youngest():
                return min(room, self._batch.capacity)

    def _suspend_youngest(self) -> bool:
        """Let the request that came last, of the least urgent ones, wait for room; False if there is only one."""
        if len(self._running) < 2:
            return False
        sequence = max(self._running, key=lambda s: (-s.submit.priority, s.admitted))
        went = self.kv.pages.paged_out
        self.kv.suspend(sequence.slot, sequence.owner)
        sequence.pages_out += self.kv.pages.paged_out - went
        sequence.slot, sequence.suspended = -1, True
        self._counts.suspended += 1
        self._running.remove(sequence)
        bisect.insort_left(self._waiting, sequence, key=lambda s: -s.submit.priority)
        return True

    def _compute(self, chunks: list[Chunk], meanwhile: Callable[[], None]) -> bool:
        """Decode the batch and book what is now resident; False if there are no logits to sample."""
        prefill = {c.sequence.id: len(c.tokens) for c in chunks if not c.sequence.started}
        if sum(prefill.values()) >= _WORTH_ABORTING:
            self._flight = _Flight(frozenset(prefill), max(self._live[i].submit.priority for i in prefill))
        code = self.model.decode(self._batch.raw, chunks[0].sequence.adapters)
        self._flight = None
        self.kv.flushed()
        if code == _FULL and (self._suspend_youngest() or self.kv.evict_parked()):
            return False  # nothing was computed; with more room it will be
        for chunk in chunks:
            sequence = chunk.sequence
            if code == _DONE:
                self._book(sequence, chunk.tokens + chunk.draft)
            elif code == _ABORTED:
                # Whole micro-batches stay; a last token must be computed again, its logits are lost.
                done = min(self.model.resident(sequence.slot), len(sequence.tokens) - 1)
                self._book(sequence, chunk.tokens[: max(done - self.kv.slots[sequence.slot].length, 0)])
                self.kv.rewind(sequence.slot, self.kv.slots[sequence.slot].length)
            else:
                self._fail(sequence, code)
        meanwhile()
        self.model.wait()
        return code == _DONE

    def _book(self, sequence: Sequence, tokens: list[int]) -> None:
        """Note that these tokens of a request are resident now."""
        self.kv.slots[sequence.slot].append(tokens)
        sequence.computed += len(tokens)
        self._counts.computed(len(tokens), decoding=sequence.started)

    def _sample(self, complete: list[Chunk]) -> None:
        """Choose the next tokens of each request whose tokens are all computed; drop what was drafted wrongly."""
        before = [len(chunk.sequence.tokens) for chunk in complete]
        right = choose(self.model, self._batch.outputs, complete, self._clock) if complete else []
        for chunk, length, accepted in zip(complete, before, right, strict=True):
            sequence, drafted = chunk.sequence, len(chunk.draft)
            sequence.drafted += drafted
            sequence.accepted += accepted
            self._counts.drafted_tokens += drafted
            self._counts.accepted_tokens += accepted
            if accepted < drafted:
                self.kv.rewind(sequence.slot, length + accepted)

    def _retire(self) -> None:
        """Announce what is new, and let go of what is finished."""
        now = self._clock()
        for sequence in tuple(self._live.values()):
            event = sequence.event(now)
            if event is not None:
                self._events.append(event)
            if sequence.finish:
                self._release(sequence, keep=sequence.finish != "error")

    def _release(self, sequence: Sequence, *, keep: bool) -> None:
        del self._live[sequence.id]
        if sequence.slot < 0:
            self._waiting.remove(sequence)
            return
        self._running.remove(sequence)
        self._counts.forced_tokens += sequence.forced
        self.kv.release(sequence.slot, keep=keep)
        if not sequence.submit.conversation:
            self.kv.forget(sequence.owner)

    def _interrupt(self, request: int, reason: FinishReason) -> None:
        sequence = self._live.get(request)
        if sequence is not None and not sequence.finish:
            sequence.interrupt(reason)

    def _refuse(self, request: int, error: RequestError) -> None:
        self._events.append(Event(request, finish="error", result=Result(error=error.fault)))

    def _give_up(self) -> None:
        """Fail what runs though the plan has nothing of it: a bug, which else would repeat the same step for ever."""
        for sequence in self._running:
            self._log.error("nothing to compute", syscall=sequence.id, slot=self.kv.slots[sequence.slot])
            sequence.fail(Fault("internal", "the engine planned no step for this request; please report it"))

    def _fail(self, sequence: Sequence, code: int) -> None:
        message = f"llama_decode returned {code} for {self._batch.size} tokens{self.model.last_error()}"
        sequence.fail(Fault("decode_failed", message))
