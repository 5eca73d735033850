"""Filtering a row of logits and drawing from what is left, without ever sorting a whole vocabulary.

Contract: pure functions of one row of shape (vocabulary,), whose greatest value `best` is a number. Top-k cuts at a
bound that the greatest of every 64 values give; top-p looks at the likeliest tokens only, as many as hold the
probability; a draw walks the kept tokens in the vocabulary's order. So a row of 128k costs about as much as its
exponential (84 microseconds), and less where a filter leaves few tokens.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from aios_actors.engine.messages import Sampling

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]
# All tokens of a 256k vocabulary that are each less likely than the likeliest by exp(-24) hold a share of 1e-5 at most.
_NEGLIGIBLE = 24.0
_GROUP = 64
_BLOCK = 512


def draw(logits: Floats, best: float, sampling: Sampling, point: float, scratch: Floats) -> int:
    """The token at `point`, 0 to 1, of the filtered distribution; `scratch` has the row's shape and is overwritten."""
    kept = _kept(logits, best, sampling, scratch)
    if kept is None:
        kept = _few(logits, best - _NEGLIGIBLE * sampling.temperature)
    if kept is None:
        return _at(_weigh(logits, best, sampling.temperature, scratch), point)
    cumulated = np.cumsum(np.exp((logits[kept].astype(np.float64) - best) / sampling.temperature))
    return int(kept[min(int(np.searchsorted(cumulated, point * cumulated[-1], side="right")), len(kept) - 1)])


def likeliest(logits: Floats, count: int) -> Tokens:
    """The `count` tokens with the greatest logits, best first, equal ones by number; fewer if there are fewer."""
    tokens = _greatest(logits, None, count) if count else np.empty(0, np.int64)
    return tokens[np.argsort(-logits[tokens], kind="stable")]


def log_total(logits: Floats, best: float, scratch: Floats) -> float:
    """The logarithm of the sum of the exponentials; what log probabilities are relative to."""
    return best + math.log(float(_weigh(logits, best, 1.0, scratch).sum(dtype=np.float64)))


def _kept(logits: Floats, best: float, sampling: Sampling, scratch: Floats) -> Tokens | None:
    """What top-k, top-p and min-p leave, in that order, as ascending tokens; None if there is no filter."""
    total = 0.0
    if sampling.top_k:
        tokens = _greatest(logits, None, sampling.top_k)
    elif sampling.top_p < 1.0:
        tokens, total = _head(logits, best, sampling.top_p, scratch)
    elif sampling.min_p > 0.0:
        tokens = np.flatnonzero(logits >= best + math.log(sampling.min_p) - 1e-3)
    else:
        return None
    if sampling.top_p < 1.0:
        cumulated = np.cumsum(np.exp(np.sort(logits[tokens])[::-1].astype(np.float64) - best))
        share = sampling.top_p * (total or float(cumulated[-1]))
        tokens = _greatest(logits, tokens, int(np.searchsorted(cumulated, share)) + 1)
    if sampling.min_p > 0.0:
        tokens = tokens[np.exp(logits[tokens].astype(np.float64) - best) >= sampling.min_p]
    return tokens


def _few(logits: Floats, border: float) -> Tokens | None:
    """The tokens from `border` on, if they are so few that leaving out the others pays."""
    above = logits >= border
    return np.flatnonzero(above) if np.count_nonzero(above) * 8 <= logits.size else None


def _greatest(logits: Floats, tokens: Tokens | None, count: int) -> Tokens:
    """The `count` of `tokens` (None: of all) with the greatest logits, ascending; of equals the lower tokens."""
    groups = logits.size // _GROUP
    if tokens is None and 2 * count <= groups:
        greatest = logits[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)
        tokens = np.flatnonzero(logits >= np.partition(greatest, groups - count)[groups - count])
    elif tokens is None:
        tokens = np.arange(logits.size)
    if count >= len(tokens):
        return tokens
    values = logits[tokens]
    border = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = tokens[values > border], tokens[values == border]
    return np.sort(np.concatenate((above, equal[: count - len(above)])))


def _head(logits: Floats, best: float, share: float, scratch: Floats) -> tuple[Tokens, float]:
    """The likeliest tokens, ascending, that hold at least `share` of the total weight, and that total."""
    total = float(_weigh(logits, best, 1.0, scratch).sum(dtype=np.float64))
    for reach in (2.0, 4.0, 8.0, 16.0, math.inf):
        tokens = np.flatnonzero(logits >= best - reach)
        if scratch[tokens].sum(dtype=np.float64) >= share * total:
            break
    return tokens, total


def _weigh(logits: Floats, best: float, temperature: float, scratch: Floats) -> Floats:
    """Each token's probability relative to the likeliest one's, in `scratch`."""
    np.subtract(logits, np.float32(best), out=scratch)
    if temperature != 1.0:
        scratch *= np.float32(1.0 / temperature)
    return np.exp(scratch, out=scratch)


def _at(weights: Floats, point: float) -> int:
    """The index at which the cumulated weights pass `point` of their sum: first the block, then the place in it."""
    blocks = np.cumsum(np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK)), dtype=np.float64)
    block = min(int(np.searchsorted(blocks, point * blocks[-1], side="right")), len(blocks) - 1)
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    before = blocks[block - 1] if block else 0.0
    place = int(np.searchsorted(np.cumsum(inside, dtype=np.float64), point * blocks[-1] - before, side="right"))
    # The block's sum and the running sum in it may differ in the last bit, and a token of no weight is none.
    return block * _BLOCK + min(place, int(np.flatnonzero(inside)[-1]))
