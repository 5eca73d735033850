"""The end of a step: a token for every request whose tokens are all computed, and for each of its drafts that holds.

Contract: `choose` takes the chunks of a computed batch and appends the chosen tokens to their sequences. A drafted
token was computed along on trust: it stands if it is what its sequence now says, and then the logits after it count as
well, so a draft is confirmed token by token by the very sampler that works without drafts. Greedy requests that ask for
nothing else may have their tokens chosen by the device, which saves reading the logits.
"""

from __future__ import annotations

from collections.abc import Callable

from aios_actors.engine.model import Model
from aios_actors.engine.plan import Chunk
from aios_actors.engine.sampling import Choice, sample


def choose(model: Model, rows: int, chunks: list[Chunk], clock: Callable[[], float]) -> list[int]:
    """Choose tokens for complete chunks of a batch with `rows` rows of logits; how much of each draft was right."""
    before = [len(chunk.sequence.tokens) for chunk in chunks]
    logits = None if all(c.sequence.on_device for c in chunks) else model.logits(rows)
    open_ = [(number, 0) for number in range(len(chunks))]
    while open_:
        host = [(n, done) for n, done in open_ if not chunks[n].sequence.on_device]
        device = [(n, done) for n, done in open_ if chunks[n].sequence.on_device]
        choices = {n: Choice(model.sampled(chunks[n].place + done)) for n, done in device}
        if logits is not None and host:
            views = [logits[chunks[n].row + done] for n, done in host]
            sampled = sample(views, [chunks[n].sequence.row() for n, _ in host])
            choices |= {n: choice for (n, _), choice in zip(host, sampled, strict=True)}
        now = clock()
        for number, choice in choices.items():
            chunks[number].sequence.accept(choice, now)
        open_ = [(n, new) for n in choices if (new := _confirmed(chunks[n], before[n])) is not None]
    return [_accepted(chunk, length) for chunk, length in zip(chunks, before, strict=True)]


def _confirmed(chunk: Chunk, before: int) -> int | None:
    """How many drafted tokens stand, if all that was said so far was drafted, so that more may follow."""
    new = chunk.sequence.tokens[before:]
    return len(new) if not chunk.sequence.finish and new == chunk.draft[: len(new)] else None


def _accepted(chunk: Chunk, before: int) -> int:
    new = chunk.sequence.tokens[before : before + len(chunk.draft)]
    return next((i for i, (a, b) in enumerate(zip(new, chunk.draft, strict=False)) if a != b), len(new))
