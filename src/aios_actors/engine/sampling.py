"""Choosing the next token of every row of a batch, vectorised with numpy.

Contract: `sample` takes the logits of all rows at once, each of shape (vocabulary,), and one `Row` for each; it may
write into the logits. It holds no state: the random number of a row depends on its seed and on the index of the token
that it generates, penalties on the tokens that the row brings along, so a resumed generation chooses what it would have
chosen. The order is llama.cpp's: bias, penalties, constraint, top-k, top-p, min-p, then temperature and the draw.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from aios_actors.engine.messages import Sampling
from aios_actors.engine.protocol import TokenLogprob

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint32]
# Beyond exp(-32) of the likeliest token all candidates of a 256k vocabulary together weigh 3e-9: below float32's
# resolution. Leaving them out keeps sorting and summing away from the whole vocabulary.
_NEGLIGIBLE = 32.0


class Row(Struct, frozen=True):
    """What one row's choice depends on, apart from its logits.

    `history` are the tokens that penalties look at (prompt and output), `index` counts the generated tokens before
    this one, `mask` is the constraint's bit set of allowed tokens, 32 to an element, or None.
    """

    sampling: Sampling
    history: Sequence[int]
    index: int
    mask: Mask | None = None
    banned: tuple[int, ...] = ()


class Choice(Struct, frozen=True):
    """The chosen token, and its log probabilities if the row asked for them."""

    token: int
    logprob: TokenLogprob | None = None


def sample(logits: Sequence[Floats] | Floats, rows: Sequence[Row]) -> list[Choice]:
    """Choose a token for each row; -1 if bias and constraint leave none, or if the logits are no numbers."""
    logprobs = {i: _log_softmax(logits[i]) for i, row in enumerate(rows) if row.sampling.logprobs is not None}
    for i, row in enumerate(rows):
        _shape(logits[i], row)
    tokens = [int(logits[i].argmax()) for i in range(len(rows))]
    for i, row in enumerate(rows):
        best = logits[i][tokens[i]]
        if not best > -np.inf:  # not even a number, if the model is broken
            tokens[i] = -1
        elif row.sampling.temperature > 0.0 and row.sampling.top_k != 1:
            tokens[i] = _draw(logits[i], float(best), row)
    return [
        Choice(t, _logprob(logprobs[i], t, rows[i]) if i in logprobs and t >= 0 else None) for i, t in enumerate(tokens)
    ]


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on `seed` and `index` alone, the same on every machine."""
    digest = hashlib.blake2b(struct.pack("<qQ", _signed(seed), index), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> 11) * 2.0**-53


def unpack_mask(mask: Mask, size: int) -> npt.NDArray[np.bool_]:
    """The bit set as booleans; shape (size,)."""
    return np.unpackbits(mask.view(np.uint8), count=size, bitorder="little").view(np.bool_)


def _signed(seed: int) -> int:
    return ((seed + 2**63) % 2**64) - 2**63


def _shape(row_logits: Floats, row: Row) -> None:
    """Bias, penalties, banned tokens and constraint, in place."""
    sampling = row.sampling
    for token, bias in sampling.logit_bias.items():
        row_logits[token] += bias
    if sampling.repeat_penalty != 1.0 or sampling.frequency_penalty or sampling.presence_penalty:
        _penalise(row_logits, row)
    for token in row.banned:
        row_logits[token] = -np.inf
    if row.mask is not None:
        best = int(row_logits.argmax())
        greedy = sampling.temperature == 0.0
        if not (greedy and int(row.mask[best >> 5]) >> (best & 31) & 1):  # greedy and allowed: the mask changes nothing
            row_logits[~unpack_mask(row.mask, row_logits.size)] = -np.inf


def _penalise(row_logits: Floats, row: Row) -> None:
    window = row.sampling.penalty_window
    recent = row.history if window < 0 else row.history[len(row.history) - min(window, len(row.history)) :]
    tokens, counts = np.unique(np.asarray(recent, dtype=np.int64), return_counts=True)
    values = row_logits[tokens]
    penalty = np.float32(row.sampling.repeat_penalty)
    values = np.where(values > 0, values / penalty, values * penalty)
    values -= counts.astype(np.float32) * np.float32(row.sampling.frequency_penalty)
    row_logits[tokens] = values - np.float32(row.sampling.presence_penalty)


def _draw(row_logits: Floats, best: float, row: Row) -> int:
    """Filter and draw by inversion of the cumulated distribution, likeliest token first."""
    sampling = row.sampling
    floor = best - _NEGLIGIBLE * max(sampling.temperature, 1.0)
    candidates = np.flatnonzero(row_logits >= floor)
    values = row_logits[candidates].astype(np.float64)
    order = np.argsort(-values, kind="stable")
    candidates, values = candidates[order], values[order]
    if 0 < sampling.top_k < len(values):
        candidates, values = candidates[: sampling.top_k], values[: sampling.top_k]
    weights = np.exp(values - values[0])
    if sampling.top_p < 1.0:
        cumulated = np.cumsum(weights)
        keep = int(np.searchsorted(cumulated, sampling.top_p * cumulated[-1])) + 1
        values, weights = values[:keep], weights[:keep]
    if sampling.min_p > 0.0:
        values = values[weights >= sampling.min_p]
    cumulated = np.cumsum(np.exp((values - values[0]) / sampling.temperature))
    drawn = int(np.searchsorted(cumulated, uniform(sampling.seed, row.index) * cumulated[-1], side="right"))
    return int(candidates[min(drawn, len(values) - 1)])


def _log_softmax(row_logits: Floats) -> Floats:
    shifted = row_logits - row_logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum(dtype=np.float64)).astype(np.float32)
    return result


def _logprob(row_logprobs: Floats, token: int, row: Row) -> TokenLogprob:
    count = min(row.sampling.logprobs or 0, row_logprobs.size)
    top: tuple[tuple[int, float], ...] = ()
    if count:
        best = np.argpartition(-row_logprobs, count - 1)[:count]
        best = best[np.lexsort((best, -row_logprobs[best]))]
        top = tuple((int(t), float(row_logprobs[t])) for t in best)
    return TokenLogprob(token, float(row_logprobs[token]), top)
