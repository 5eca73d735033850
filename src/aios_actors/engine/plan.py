"""What a step computes: whose tokens, how many of them, and what is tried on speculation.

Contract: a `Planner` chooses among the running requests of one engine and fills its batch; it moves no KV, and leaves
the requests' tokens alone. A step serves one set of adapters. Of the room that it has, every decoder gets at least one
token, then decoders may draft, then the most urgent of those that are prefilled share what is left. Beside decoders
that is no more than the cost model's budget, step by step for a long prompt and on average for short ones; but a prompt
that is more urgent than all decoders is computed as if there were none.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from aios_actors.engine.adapters import Turns
from aios_actors.engine.batch import Batch
from aios_actors.engine.cost import CostModel, Work
from aios_actors.engine.kv import KvCache
from aios_actors.engine.lookup import Speculation
from aios_actors.engine.passes import passes
from aios_actors.engine.sequence import Sequence

# A prompt of which at most so much is left, such as an agent's next turn, is computed in one piece: 8 tokens cost
# 4.5 ms each, 16 cost 3.0 and 48 cost 2.6 (135M parameters, two CPU cores).
_WHOLE = 64
# Where the budget is smaller than a piece, a longer one is too if it takes at most so many seconds, up to these tokens:
# beside one generation, 100 tokens one at a time take 0.9 s, each four times as long as in one piece, which takes 0.2.
_LARGEST_WHOLE, _WHOLE_S = 256, 0.25
# So many tokens of what was borrowed for it are paid back in a step, even where the budget is less.
_REPAID = 4
# The most urgent prompts are computed, but so long a wait counts as a level of priority: none waits for ever.
_LEVEL_S = 30.0
# A piece of a longer prompt is at least so long, unless it is the only one.
_SMALLEST_PIECE = 16


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
        self._debt = 0  # tokens of prefill that were computed beyond the budget, and are saved in the next steps

    def plan(self, running: list[Sequence], room: int, now: float) -> Plan:
        """What each of the `running` requests computes at the time `now`, in `room` tokens in all; fills the batch."""
        chosen = self._turn(running)
        decoders = [s for s in chosen if s.started]
        shares = self._decode(decoders, room)
        room -= sum(shares.values())
        drafts = self._drafts([s for s in decoders if shares[s.id] == self._pending(s)], room)
        room -= sum(map(len, drafts.values()))
        prompts = [s for s in chosen if not s.started]
        prefilling = _most_urgent(prompts, now)
        if not decoders or not prefilling:
            self._debt = 0
        if prefilling and _priority(prefilling) <= _priority(decoders):
            budget = self._budget(decoders, shares, prefilling)
            shares |= self._prefill_beside(self._between(decoders, prompts), prefilling, room, budget)
        else:
            shares |= self._prefill_alone(prefilling, room)
        self._batch.clear()
        ordered = sorted((s for s in chosen if shares.get(s.id)), key=lambda s: s.slot)
        chunks = [self._chunk(s, shares[s.id], drafts.get(s.id, [])) for s in ordered]
        return Plan(chunks, self._work(chunks))

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

    def _prefill_alone(self, prefilling: list[Sequence], room: int) -> dict[int, int]:
        """What each computes as if nobody decoded, by request: all, as far as there is room."""
        shares: dict[int, int] = {}
        for sequence in prefilling:
            shares[sequence.id] = min(self._pending(sequence), room)
            room -= shares[sequence.id]
        return shares

    def _prefill_beside(
        self, bridges: list[Sequence], prefilling: list[Sequence], room: int, budget: int
    ) -> dict[int, int]:
        """What each computes beside decoders, by request.

        First a token of each that lies between decoders: so these are neighbours, and computed in one pass. Then pieces
        within the budget; a budget of one token is for no second pass.
        """
        shares = {s.id: 1 for s in bridges[:room]}
        room -= len(shares)
        left, pieces = max(budget, _REPAID) - self._debt, 0
        for sequence in prefilling:
            bridged = shares.get(sequence.id, 0)
            pending = self._pending(sequence) - bridged
            most = max(left, self._whole(sequence, budget) if left > 0 and not pieces else 0)
            piece = min(max(left, 0), budget) if budget > bridged else 0
            share = min(pending if pending <= most else piece, room)
            if pieces and share < min(pending, _SMALLEST_PIECE):
                break
            shares[sequence.id] = bridged + share
            left, room, pieces = left - share, room - share, pieces + (share > 0)
        self._debt = max(-left, 0)
        return shares

    def _between(self, decoders: list[Sequence], prefilling: list[Sequence]) -> list[Sequence]:
        """Those of the prefilling ones whose streams lie between the streams of decoders."""
        if not self._kv.split:
            return []
        first, last = min(s.slot for s in decoders), max(s.slot for s in decoders)
        return [s for s in prefilling if first < s.slot < last]

    def _budget(self, decoders: list[Sequence], shares: dict[int, int], prefilling: list[Sequence]) -> int:
        """Tokens of prefill that may join the decoders' `shares`.

        What a step takes without them is taken to be what it will when the short prompts are computed and decode too.
        By the decoders alone, few of them would leave so little room for others that they stay few.
        """
        soon = [s for s in prefilling if self._pending(s) <= _WHOLE]
        tokens = {s.slot: shares.get(s.id, 1) for s in decoders + soon}
        work = sum((Work.span(self._kv.slots[slot].length, count, 1) for slot, count in tokens.items()), Work())
        start = min(map(self._length, prefilling))
        alone = replace(work, passes=self._passes(tokens))
        return self._cost.prefill_budget(alone, start, passes=int(self._kv.split))

    def _whole(self, sequence: Sequence, budget: int) -> int:
        """How many tokens of a request may be computed in one piece, to be paid back from the next steps' budgets."""
        if budget >= _SMALLEST_PIECE:
            return _WHOLE
        tokens = self._cost.tokens_within(_WHOLE_S, self._length(sequence))
        return min(max(tokens, _WHOLE), _LARGEST_WHOLE)

    def _chunk(self, sequence: Sequence, share: int, draft: list[int]) -> Chunk:
        """Put the next `share` of a request's pending tokens into the batch, and its draft."""
        start, row = self._length(sequence), self._batch.outputs
        tokens = sequence.tokens[start : start + share]
        complete = share == self._pending(sequence)
        outputs = complete + len(draft)
        self._batch.add(sequence.slot, tokens + draft, start, outputs=outputs)
        return Chunk(sequence, tokens, draft, complete, row, self._batch.size - outputs)

    def _work(self, chunks: list[Chunk]) -> Work:
        """What computing the chunks asks of the model."""
        sizes = {chunk.sequence.slot: len(chunk.tokens) + len(chunk.draft) for chunk in chunks}
        spans = (
            Work.span(self._length(chunk.sequence), size, chunk.complete + len(chunk.draft))
            for chunk, size in zip(chunks, sizes.values(), strict=True)
        )
        return replace(sum(spans, Work()), passes=self._passes(sizes))

    def _passes(self, tokens: dict[int, int]) -> int:
        """How many passes so many tokens of each slot take."""
        return passes(tokens) if self._kv.split else 1

    def _length(self, sequence: Sequence) -> int:
        """How many tokens of a running request are resident."""
        return self._kv.slots[sequence.slot].length

    def _pending(self, sequence: Sequence) -> int:
        """How many are not."""
        return len(sequence.tokens) - self._length(sequence)


def _priority(sequences: list[Sequence]) -> float:
    """The highest among them."""
    return max((s.submit.priority for s in sequences), default=-math.inf)


def _most_urgent(prefilling: list[Sequence], now: float) -> list[Sequence]:
    """Those of the highest priority, and those that waited so long; others would only make the step longer."""
    most = _priority(prefilling)
    return [s for s in prefilling if s.submit.priority + (now - s.received) // _LEVEL_S >= most]
