"""Choosing the next token of every row of a batch, vectorised with numpy.

Contract: `sample` takes the logits of all rows at once, each of shape (vocabulary,), and one `Row` for each; it may
write into the logits. It holds no state: the random number of a row depends on its seed and on the index of the token
that it generates, penalties on the tokens that the row brings along, so a resumed generation chooses what it would have
chosen. The order is llama.cpp's: bias, penalties, constraint, top-k, top-p, min-p, then temperature and the draw.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from aios_actors.engine.distribution import draw, likeliest, log_total
from aios_actors.engine.messages import Sampling
from aios_actors.engine.protocol import TokenLogprob

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint32]


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
    scratch = np.empty_like(logits[0])
    return [_choose(logits[i], row, scratch) for i, row in enumerate(rows)]


def uniform(seed: int, index: int, attempt: int = 0) -> float:
    """A number in [0, 1) that depends on these three alone, the same on every machine."""
    digest = hashlib.blake2b(struct.pack("<qQQ", _signed(seed), index, attempt), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> 11) * 2.0**-53


def unpack_mask(mask: Mask, size: int) -> npt.NDArray[np.bool_]:
    """The bit set as booleans; shape (size,)."""
    return np.unpackbits(mask.view(np.uint8), count=size, bitorder="little").view(np.bool_)


def _signed(seed: int) -> int:
    return ((seed + 2**63) % 2**64) - 2**63


def _choose(logits: Floats, row: Row, scratch: Floats) -> Choice:
    sampling = row.sampling
    unfiltered = logits.copy() if sampling.logprobs is not None and _is_shaped(row) else logits
    _shape(logits, row)
    token = int(logits.argmax())
    best = float(logits[token])
    if not best > -np.inf:  # not even a number, if the model is broken
        return Choice(-1)
    if sampling.temperature > 0.0 and sampling.top_k != 1:
        points = (uniform(sampling.seed, row.index, attempt) for attempt in itertools.count())
        token = draw(logits, best, sampling, points, scratch)
    return Choice(token, None if sampling.logprobs is None else _logprob(unfiltered, token, sampling, scratch))


def _is_shaped(row: Row) -> bool:
    """Whether `_shape` would change anything."""
    return bool(row.sampling.logit_bias or row.banned or row.mask is not None or _penalises(row.sampling))


def _penalises(sampling: Sampling) -> bool:
    return bool(sampling.repeat_penalty != 1.0 or sampling.frequency_penalty or sampling.presence_penalty)


def _shape(row_logits: Floats, row: Row) -> None:
    """Bias, penalties, banned tokens and constraint, in place."""
    sampling = row.sampling
    for token, bias in sampling.logit_bias.items():
        row_logits[token] += bias
    if _penalises(sampling):
        _penalise(row_logits, row)
    for token in row.banned:
        row_logits[token] = -np.inf
    if row.mask is not None:
        best = int(row_logits.argmax())
        greedy = sampling.temperature == 0.0
        if not (greedy and int(row.mask[best >> 5]) >> (best & 31) & 1):  # greedy and allowed: the mask changes nothing
            np.copyto(row_logits, -np.inf, where=unpack_mask(~row.mask, row_logits.size))


def _penalise(row_logits: Floats, row: Row) -> None:
    window = row.sampling.penalty_window
    recent = row.history if window < 0 else row.history[len(row.history) - min(window, len(row.history)) :]
    tokens, counts = np.unique(np.asarray(recent, dtype=np.int64), return_counts=True)
    values = row_logits[tokens]
    penalty = np.float32(row.sampling.repeat_penalty)
    values = np.where(values > 0, values / penalty, values * penalty)
    values -= counts.astype(np.float32) * np.float32(row.sampling.frequency_penalty)
    row_logits[tokens] = values - np.float32(row.sampling.presence_penalty)


def _logprob(logits: Floats, token: int, sampling: Sampling, scratch: Floats) -> TokenLogprob:
    total = log_total(logits, float(logits.max()), scratch)
    top = likeliest(logits, sampling.logprobs or 0)
    return TokenLogprob(token, float(logits[token]) - total, tuple((int(t), float(logits[t]) - total) for t in top))
