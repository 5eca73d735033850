"""Drawing from a row of logits, filtered, without ever sorting a vocabulary.

Contract: pure functions of one row of shape (vocabulary,), whose greatest value `best` is a number. Each filter keeps
the tokens whose logits lie above a border of its own. Top-k and min-p find theirs before the draw: at a bound that the
greatest of every 64 values give, and at a fixed distance from `best`. Top-p needs none: a token is drawn from what the
others keep, and again if those likelier than it hold `top_p` of the weight (as FlashInfer's rejection sampling does).
Where neither top-k nor min-p leaves few tokens, only the likeliest get an exponential: all others together count as
one candidate of the weight that they may have at most, and one drawn of them stands with a chance of its own weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from aios_actors.engine.messages import Sampling

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]
# What all the tokens that count as one candidate weigh at most, the likeliest one weighing 1.
_REST = 0.5
# Exponentials of at most so much can be summed over any vocabulary as 32-bit floats.
_LARGE = 60.0
_GROUP = 64
_BLOCK = 512


def draw(logits: Floats, best: float, sampling: Sampling, points: Iterator[float], scratch: Floats) -> int:
    """A token of the filtered distribution.

    Args:
        logits: unchanged.
        best: the greatest of them.
        sampling: the filters, and the temperature, which counts after them.
        points: independent random numbers in [0, 1), without an end; mostly one is used.
        scratch: of the row's shape; overwritten.
    """
    likely = _greatest(logits, sampling.top_k) if sampling.top_k else None
    kept = _above_min_p(logits, likely, best, sampling.min_p) if sampling.min_p > 0.0 else likely
    rest, border = 0.0, -math.inf
    if kept is None:
        border = float(np.float32(best - sampling.temperature * math.log(logits.size / _REST)))
        kept = _few(logits, border)
        rest = 0.0 if kept is None else _REST
    weights: Weights
    if kept is None:
        weights = _weigh(logits, best, sampling.temperature, scratch)
    else:
        weights = np.exp((logits[kept].astype(np.float64) - best) / sampling.temperature)
    floor = -math.inf  # what is no likelier was found to be outside the nucleus
    while True:
        point = next(points)
        share = rest / (rest + float(weights.sum())) if rest else 0.0
        if point < share:
            token = int(next(points) * logits.size)
            weight = math.exp((float(logits[token]) - best) / sampling.temperature)
            if not floor < logits[token] < border or next(points) * rest >= weight * logits.size:
                continue
        else:
            place = _at(weights, (point - share) / (1.0 - share))
            token = place if kept is None else int(kept[place])
        if sampling.top_p == 1.0 or _in_nucleus(logits, likely, best, token, sampling.top_p):
            return token
        floor = float(logits[token])
        weights[(logits if kept is None else logits[kept]) <= floor] = 0.0
        rest = rest if floor < border else 0.0


def likeliest(logits: Floats, count: int) -> Tokens:
    """The `count` tokens with the greatest logits, best first, equal ones by number; fewer if there are fewer."""
    tokens = _greatest(logits, count) if count else np.empty(0, np.int64)
    return tokens[np.argsort(-logits[tokens], kind="stable")]


def log_total(logits: Floats, best: float, scratch: Floats) -> float:
    """The logarithm of the sum of the exponentials; what log probabilities are relative to."""
    weights = _weigh(logits, best, 1.0, scratch)
    return _shift(best) + math.log(float(_block_sums(weights).sum(dtype=np.float64)))


def _above_min_p(logits: Floats, tokens: Tokens | None, best: float, min_p: float) -> Tokens:
    """Those of `tokens` (None: of all) that are at least `min_p` times as likely as the likeliest, ascending."""
    if tokens is None:
        tokens = np.flatnonzero(logits >= best + math.log(min_p) - 1e-3)
    return tokens[np.exp(logits[tokens].astype(np.float64) - best) >= min_p]


def _few(logits: Floats, border: float) -> Tokens | None:
    """The tokens from `border` on, if they are so few that leaving out the others pays."""
    above = logits >= border
    return np.flatnonzero(above) if np.count_nonzero(above) * 8 <= logits.size else None


def _greatest(logits: Floats, count: int) -> Tokens:
    """The `count` tokens with the greatest logits, ascending; of equals the lower tokens."""
    groups = logits.size // _GROUP
    if 2 * count <= groups:
        greatest = logits[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)
        tokens = np.flatnonzero(logits >= np.partition(greatest, groups - count)[groups - count])
    else:
        tokens = np.arange(logits.size)
    if count >= len(tokens):
        return tokens
    values = logits[tokens]
    border = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = tokens[values > border], tokens[values == border]
    return np.sort(np.concatenate((above, equal[: count - len(above)])))


def _in_nucleus(logits: Floats, tokens: Tokens | None, best: float, token: int, share: float) -> bool:
    """Whether those of `tokens` (None: of all) that are likelier than `token` hold less than `share` of the weight."""
    values = logits if tokens is None else logits[tokens]
    above = values > logits[token]
    if not above.any():
        return True
    likelier = float(np.exp(values[above] - np.float32(best)).sum(dtype=np.float64))
    if likelier < share * (likelier + math.exp(float(logits[token]) - best)):
        return True  # whatever all others weigh
    return likelier < share * float(np.exp(values - np.float32(best)).sum(dtype=np.float64))


def _shift(exponent: float) -> float:
    """What is taken from all exponents before the exponential: nothing, if the greatest is not extreme."""
    return 0.0 if abs(exponent) <= _LARGE else exponent


def _weigh(logits: Floats, best: float, temperature: float, scratch: Floats) -> Floats:
    """Each token's weight, a multiple of its probability, in `scratch`."""
    exponents, shift = logits, _shift(best / temperature)
    if temperature != 1.0:
        exponents = np.multiply(logits, np.float32(1.0 / temperature), out=scratch)
    if shift:
        exponents = np.subtract(exponents, np.float32(shift), out=scratch)
    return np.exp(exponents, out=scratch)


def _block_sums(weights: Weights) -> Weights:
    """The sums of every 512 weights, and of what is left."""
    whole = weights.size // _BLOCK * _BLOCK
    sums = weights[:whole].reshape(-1, _BLOCK).sum(axis=1)
    return np.append(sums, weights[whole:].sum())


def _at(weights: Weights, point: float) -> int:
    """The index at which the cumulated weights pass `point` of their sum."""
    if weights.size <= _BLOCK:
        cumulated = np.cumsum(weights, dtype=np.float64)
        return _passed(cumulated, point * cumulated[-1])
    blocks = np.cumsum(_block_sums(weights), dtype=np.float64)
    target = point * blocks[-1]
    block = _passed(blocks, target)
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    return block * _BLOCK + _passed(np.cumsum(inside, dtype=np.float64), target - (blocks[block - 1] if block else 0.0))


def _passed(cumulated: npt.NDArray[np.float64], target: float) -> int:
    """The first index whose value is greater; the last that adds anything, if rounding made the target too great."""
    place = int(cumulated.searchsorted(target, side="right"))
    return place if place < cumulated.size else int(cumulated.searchsorted(cumulated[-1]))
