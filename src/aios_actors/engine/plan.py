"""What a step computes: whose tokens, how many of them, and what is tried on speculation.

Contract: a `Planner` chooses among the running requests of one engine and fills its batch; it moves no KV, and leaves
the requests' tokens alone. A step serves one set of adapters. Of the room that it has, every decoder gets at least one
token, then decoders may draft, then the most urgent of those that are prefilled share what is left; beside decoders
that is no more than the cost model's budget.
"""

from __future__ import annotations

from msgspec import Struct

from aios_actors.engine.adapters import Turns
from aios_actors.engine.batch import Batch
from aios_actors.engine.cost import CostModel, Work
from aios_actors.engine.kv import KvCache
from aios_actors.engine.lookup import Speculation
from aios_actors.engine.sequence import Sequence


class Chunk(Struct, frozen=True):
    """What one request computes in a step: some of its pending tokens or all of them, and then perhaps a draft.

    `complete`: it gets logits, all of its tokens are computed. The first of them is row `row` among the batch's, of the
    token at `place` in the batch.
    """

    sequence: Sequence
    tokens: list[int]
    draft: list[int]
    complete: bool
    row: int
    place: int


class Plan(Struct, frozen=True):
    """The chunks of a batch, in ascending order of slot, and what computing them asks of the model."""

    chunks: list[Chunk]
    work: Work


class Planner:
    """Plans the steps of one engine into `batch`."""

    def __init__(self, kv: KvCache, batch: Batch, cost: CostModel, speculation: Speculation) -> None:
        self._kv = kv
        self._batch = batch
        self._cost = cost
        self._speculation = speculation
        self._turns = Turns()

    def plan(self, running: list[Sequence], room: int) -> Plan:
        """What each of the `running` requests computes now, in `room` tokens all together; fills the batch."""
        chosen = self._turn(running)
        decoders = [s for s in chosen if s.started]
        shares = self._decode(decoders, room)
        room -= sum(shares.values())
        drafts = self._drafts([s for s in decoders if shares[s.id] == self._pending(s)], room)
        room -= sum(map(len, drafts.values()))
        prefilling = _most_urgent([s for s in chosen if not s.started])
        budget = min(room, self._prefill_budget(decoders, shares, prefilling)) if decoders else room
        for sequence in prefilling:
            shares[sequence.id] = min(self._pending(sequence), budget)
            budget -= shares[sequence.id]
        self._batch.clear()
        ordered = sorted((s for s in chosen if shares.get(s.id)), key=lambda s: s.slot)
        chunks = [self._chunk(s, shares[s.id], drafts.get(s.id, [])) for s in ordered]
        return Plan(chunks, sum(map(self._work, chunks), Work()))

    def _turn(self, running: list[Sequence]) -> list[Sequence]:
        """Who may compute now: a step serves one set of adapters."""
        urgencies: dict[str, int] = {}
        for sequence in running:
            urgency = 0 if sequence.started else max(sequence.submit.priority, 0)
            urgencies[sequence.adapters] = max(urgency, urgencies.get(sequence.adapters, 0))
        if len(urgencies) < 2:
            return running
        turn = self._turns.next(urgencies)
        return [s for s in running if s.adapters == turn]

    def _decode(self, decoders: list[Sequence], room: int) -> dict[int, int]:
        """How many pending tokens each decoder computes, by request: all, or what leaves one for each that follows."""
        shares: dict[int, int] = {}
        for place, sequence in enumerate(decoders, 1):
            shares[sequence.id] = min(self._pending(sequence), max(room - (len(decoders) - place), 1))
            room -= shares[sequence.id]
        return shares

    def _drafts(self, decoders: list[Sequence], room: int) -> dict[int, list[int]]:
        """What is tried on speculation, by request, in at most `room` tokens."""
        each = room // max(len(decoders), 1)
        wanted = [(s.lookup, min(each, s.room - 1)) for s in decoders if s.lookup is not None]
        cells = sum(map(self._length, decoders)) / max(len(decoders), 1)
        drafts = self._speculation.drafts(wanted, self._cost.line(cells)) if wanted else []
        return {s.id: draft for s, draft in zip(decoders, drafts, strict=False)}

    def _prefill_budget(self, decoders: list[Sequence], shares: dict[int, int], prefilling: list[Sequence]) -> int:
        """Tokens of prefill that may join the decoders' `shares`."""
        work = sum((Work.span(self._length(s), shares[s.id], 1) for s in decoders), Work())
        return self._cost.prefill_budget(work, min(map(self._length, prefilling), default=0))

    def _chunk(self, sequence: Sequence, share: int, draft: list[int]) -> Chunk:
        """Put the next `share` of a request's pending tokens into the batch, and its draft."""
        start, row = self._length(sequence), self._batch.outputs
        tokens = sequence.tokens[start : start + share]
        complete = share == self._pending(sequence)
        outputs = complete + len(draft)
        self._batch.add(sequence.slot, tokens + draft, start, outputs=outputs)
        return Chunk(sequence, tokens, draft, complete, row, self._batch.size - outputs)

    def _work(self, chunk: Chunk) -> Work:
        tokens, outputs = len(chunk.tokens) + len(chunk.draft), chunk.complete + len(chunk.draft)
        return Work.span(self._length(chunk.sequence), tokens, outputs)

    def _length(self, sequence: Sequence) -> int:
        """How many tokens of a running request are resident."""
        return self._kv.slots[sequence.slot].length

    def _pending(self, sequence: Sequence) -> int:
        """How many are not."""
        return len(sequence.tokens) - self._length(sequence)


def _most_urgent(prefilling: list[Sequence]) -> list[Sequence]:
    """Those of the highest priority; others would only make the step longer."""
    urgency = max((s.submit.priority for s in prefilling), default=0)
    return [s for s in prefilling if s.submit.priority == urgency]
