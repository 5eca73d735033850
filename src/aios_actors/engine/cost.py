"""What steps and KV transfers cost on this machine, fitted while running, and what follows from it.

Contract: `observe_step` and `observe_transfer` take measurements; everything else predicts from them. A step's seconds
are a x passes + b x tokens + c x cells scanned + d x outputs, by least squares of the relative errors, so that a step
that was slow because the machine was busy weighs little. The measurements kept are the last few for each power of two
of tokens, with and without prefill, so a long stretch of one kind does not make it forget what the other costs. Rates
of transfers are medians of the last few. What was never measured counts as free, so that it gets tried.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict, deque
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Transfer = Literal["save", "restore", "write", "read", "move"]

_WINDOW = 16
# So many steps of known kinds make the fit stale; one of a kind of which few were seen does at once.
_REFIT = 8
_FIRST_BUDGET, _SMALLEST_BUDGET = 64, 2
# A step with prefill may take this much longer than the decoders alone; below 1, so that the noise of real steps too
# stays within twice the time.
_STRETCH = 0.8
# How far beyond the largest batch seen lately the fit is trusted: kernels are not linear for ever.
_GROWTH = 1.4
# A step's time must be within its limit by this many standard errors of the fit, for noise can hide what a token costs.
_CONFIDENCE = 1.0
# A median absolute error times this is a standard deviation, where errors are normal.
_NORMAL = 1.4826
# So soon what makes neighbours must have paid: the next request to come or to end may part them again.
_STEPS_AHEAD = 4
# An estimate that speaks against a transfer is not tested again by it; it fades by this until one is tried.
_FADING = 0.9


class Work(Struct, frozen=True):
    """What a batch asks of the model.

    That is tokens, KV cells that they attend to all together, rows of logits, and passes through all layers.
    """

    tokens: int = 0
    cells: float = 0.0
    outputs: int = 0
    passes: int = 1

    def __add__(self, other: Work) -> Work:
        """Both in one batch, in as many passes as the one that takes more."""
        passes = max(self.passes, other.passes)
        return Work(self.tokens + other.tokens, self.cells + other.cells, self.outputs + other.outputs, passes)

    @classmethod
    def span(cls, start: int, tokens: int, outputs: int = 0, passes: int = 1) -> Work:
        """The work of `tokens` tokens of one sequence from position `start` on."""
        return cls(tokens, tokens * (start + (tokens + 1) / 2), outputs, passes)


class _Fit(Struct, frozen=True):
    """Seconds for a pass, a token, a cell and an output, and how sure that is."""

    costs: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    def seconds(self, row: npt.NDArray[np.float64]) -> float:
        return float(self.costs @ row)

    def error(self, row: npt.NDArray[np.float64]) -> float:
        """Standard error of `seconds(row)`."""
        return math.sqrt(max(float(row @ self.covariance @ row), 0.0))


class CostModel:
    """Predicts seconds, and decides by them."""

    def __init__(self) -> None:
        self._steps: defaultdict[tuple[int, bool], deque[tuple[Work, float]]] = defaultdict(
            lambda: deque(maxlen=_WINDOW)
        )
        self._fitted: _Fit | None = None
        self._new = 0  # steps since the fit, all of them if there is none
        self._rates: defaultdict[Transfer, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))

    def observe_step(self, work: Work, seconds: float) -> None:
        """Take note of a step that computed `work`."""
        if work.tokens > 0 and seconds > 0.0:
            steps = self._steps[work.tokens.bit_length(), work.tokens > work.outputs]
            self._new += 1 if len(steps) == _WINDOW else _REFIT
            steps.append((work, seconds))

    def observe_transfer(self, kind: Transfer, size: int, seconds: float) -> None:
        """Take note that moving so much KV took `seconds`; `size` is in bytes, or of a `move` in tokens."""
        self._rates[kind].append(seconds / max(size, 1))

    def step_s(self, work: Work) -> float | None:
        """The seconds of a step; None while the steps seen do not tell."""
        fitted = self._fit()
        return None if fitted is None else fitted.seconds(_row(work))

    def line(self, cells: float) -> tuple[float, float] | None:
        """Seconds of a step, and seconds more for each token that attends to `cells` cells and gets logits."""
        fitted = self._fit()
        if fitted is None:
            return None
        a, b, c, d = fitted.costs.tolist()
        return a, b + c * cells + d

    def prefill_s(self, start: int, end: int) -> float | None:
        """The seconds that computing tokens `start` to `end` of one sequence adds to steps; None while unknown."""
        fitted = self._fit()
        return None if fitted is None else fitted.seconds(_row(Work.span(start, end - start, passes=0)))

    def tokens_within(self, seconds: float, start: int) -> int:
        """How many tokens of one sequence from position `start` on a pass computes in that time; 0 while unknown."""
        fitted = self._fit()
        return 0 if fitted is None else _tokens(fitted, seconds - float(fitted.costs[0]), start)

    def prefill_budget(self, decoding: Work, start: int, passes: int = 0) -> int:
        """Tokens of prefill that may join the work of the decoders.

        As many as stay within the time even if a token costs more than the fit says by its standard error, and at most
        1.4 times the largest batch seen lately: further the fit is not trusted. At least 2, or 1 where more passes are
        what takes the time.

        Args:
            decoding: what the decoders compute.
            start: position of the first of those tokens.
            passes: how many more passes they take.
        """
        fitted = self._fit()
        if fitted is None:
            return _FIRST_BUDGET
        least = 1 if passes else _SMALLEST_BUDGET
        seen = max(work.tokens for work, _ in self._steps[max(self._steps)])
        most = int(_GROWTH * seen)
        room = _row(decoding) * _STRETCH - _row(Work(passes=passes))
        seconds = fitted.seconds(room)
        tokens = min(_tokens(fitted, seconds, start), most)
        over = _row(Work.span(start, tokens, passes=0)) - room
        sure = seconds - _CONFIDENCE * fitted.error(over)
        return max(least, min(_tokens(fitted, sure, start), most))

    def transfer_s(self, kind: Transfer, size: int) -> float:
        """The seconds that moving so much takes; 0 if it was never measured."""
        rates = self._rates.get(kind)
        return statistics.median(rates) * size if rates else 0.0

    def worth_moving(self, start: int, end: int, *moves: tuple[Transfer, int]) -> bool:
        """Whether the moves, pairs of kind and bytes, take less time than computing tokens `start` to `end` again."""
        recompute = self.prefill_s(start, end)
        return recompute is None or self._faster(recompute, *moves)

    def worth_joining(self, passes: int, tokens: int) -> bool:
        """Whether moving so many tokens takes less time than so many passes more in the next steps."""
        fitted = self._fit()
        if fitted is None:
            return False
        return self._faster(_STEPS_AHEAD * fitted.seconds(_row(Work(passes=passes))), ("move", tokens))

    def _faster(self, seconds: float, *moves: tuple[Transfer, int]) -> bool:
        if sum(self.transfer_s(kind, size) for kind, size in moves) <= seconds:
            return True
        for kind, size in moves:
            if size and kind in self._rates:
                self._rates[kind] = deque((rate * _FADING for rate in self._rates[kind]), _WINDOW)
        return False

    def _fit(self) -> _Fit | None:
        """None before steps of two sizes were seen."""
        if self._new >= _REFIT and len(self._steps) > 1:
            self._fitted = _least_squares([sample for steps in self._steps.values() for sample in steps])
            self._new = 0
        return self._fitted


def _terms(work: Work) -> tuple[float, ...]:
    return work.passes, work.tokens, work.cells, work.outputs


def _row(work: Work) -> npt.NDArray[np.float64]:
    return np.array(_terms(work))


def _tokens(fitted: _Fit, seconds: float, start: int) -> int:
    """The n that solves token x n + cell x (start x n + n^2 / 2) = seconds."""
    if seconds <= 0.0:
        return 0
    _, token, cell, _ = fitted.costs.tolist()
    token += cell * start
    if token + cell <= 0.0:
        return _FIRST_BUDGET
    return int(2.0 * seconds / (token + math.sqrt(token * token + 2.0 * cell * seconds)))


def _least_squares(samples: list[tuple[Work, float]]) -> _Fit:
    """Of relative errors, without negative costs: the most negative one is left out in turn."""
    seconds = np.array([seconds for _, seconds in samples])
    rows = np.array([_terms(work) for work, _ in samples]) / seconds[:, None]
    scale = np.maximum(rows.max(axis=0), 1e-300)
    rows /= scale
    products, sums = rows.T @ rows, rows.sum(axis=0)
    used, costs, covariance = [0, 1, 2, 3], np.zeros(4), np.zeros((4, 4))
    while used:
        inverse = np.linalg.pinv(products[np.ix_(used, used)], rcond=1e-12, hermitian=True)
        solution = inverse @ sums[used]
        if solution.min() >= 0.0:
            costs[used] = solution
            spread = _NORMAL * float(np.median(np.abs(rows @ costs - 1.0)))
            covariance[np.ix_(used, used)] = spread**2 * inverse
            break
        del used[int(solution.argmin())]
    return _Fit(costs / scale, covariance / scale / scale[:, None])
