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

Transfer = Literal["save", "restore", "write", "read"]

_WINDOW = 16
_FIRST_BUDGET, _SMALLEST_BUDGET = 64, 4
# A step with prefill may take this much longer than the decoders alone; below 1, so that the noise of real steps too
# stays within twice the time.
_STRETCH = 0.8
# How far beyond the largest batch seen lately the fit is trusted. Twice is too far where noise hides a token's cost: of
# 8,800 simulated machines with a large fixed cost and cheap tokens 127 went past twice the time with 1.5, 56 with 1.4.
_GROWTH = 1.4
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
    def span(cls, start: int, tokens: int, outputs: int = 0) -> Work:
        """The work of `tokens` tokens of one sequence from position `start` on."""
        return cls(tokens, tokens * (start + (tokens + 1) / 2), outputs)


class CostModel:
    """Predicts seconds, and decides by them."""

    def __init__(self) -> None:
        self._steps: defaultdict[tuple[int, bool], deque[tuple[Work, float]]] = defaultdict(
            lambda: deque(maxlen=_WINDOW)
        )
        self._fitted: npt.NDArray[np.float64] | None = None
        self._stale = True
        self._rates: defaultdict[Transfer, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))

    def observe_step(self, work: Work, seconds: float) -> None:
        """Take note of a step that computed `work`."""
        if work.tokens > 0 and seconds > 0.0:
            self._steps[work.tokens.bit_length(), work.tokens > work.outputs].append((work, seconds))
            self._stale = True

    def observe_transfer(self, kind: Transfer, size: int, seconds: float) -> None:
        """Take note that moving `size` bytes of KV took `seconds`."""
        self._rates[kind].append(seconds / max(size, 1))

    def step_s(self, work: Work) -> float | None:
        """The seconds of a step; None while the steps seen do not tell."""
        fitted = self._coefficients()
        return None if fitted is None else float(fitted @ _row(work))

    def line(self, cells: float) -> tuple[float, float] | None:
        """Seconds of a step, and seconds more for each token that attends to `cells` cells and gets logits."""
        fitted = self._coefficients()
        return None if fitted is None else (float(fitted[0]), float(fitted[1] + fitted[2] * cells + fitted[3]))

    def prefill_s(self, start: int, end: int) -> float | None:
        """The seconds that computing tokens `start` to `end` of one sequence adds to steps; None while unknown."""
        fitted = self._coefficients()
        if fitted is None:
            return None
        work = Work.span(start, end - start)
        return float(fitted[1] * work.tokens + fitted[2] * work.cells)

    def prefill_budget(self, decoding: Work, start: int, passes: int = 0) -> int:
        """Tokens of prefill that may join the work of the decoders.

        At most half as much again as the largest batch seen lately: further the fit is not trusted.

        Args:
            decoding: what the decoders compute.
            start: position of the first of those tokens.
            passes: how many more passes they take.
        """
        alone, fitted = self.step_s(decoding), self._coefficients()
        if alone is None or fitted is None:
            return _FIRST_BUDGET
        # Solves token x n + cell x (start x n + n^2 / 2) = seconds for n.
        token, cell, seconds = fitted[1] + fitted[2] * start, fitted[2], alone * _STRETCH - fitted[0] * passes
        if token + cell <= 0.0:
            return _FIRST_BUDGET
        if seconds <= 0.0:
            return _SMALLEST_BUDGET
        tokens = 2.0 * seconds / (token + math.sqrt(token * token + 2.0 * cell * seconds))
        seen = max(work.tokens for work, _ in self._steps[max(self._steps)])
        return max(_SMALLEST_BUDGET, min(int(tokens), int(_GROWTH * seen)))

    def transfer_s(self, kind: Transfer, size: int) -> float:
        """The seconds that moving `size` bytes takes; 0 if it was never measured."""
        rates = self._rates.get(kind)
        return statistics.median(rates) * size if rates else 0.0

    def worth_moving(self, start: int, end: int, *moves: tuple[Transfer, int]) -> bool:
        """Whether the moves, pairs of kind and bytes, take less time than computing tokens `start` to `end` again."""
        recompute = self.prefill_s(start, end)
        if recompute is None or sum(self.transfer_s(kind, size) for kind, size in moves) <= recompute:
            return True
        for kind, size in moves:
            if size and kind in self._rates:
                self._rates[kind] = deque((rate * _FADING for rate in self._rates[kind]), _WINDOW)
        return False

    def _coefficients(self) -> npt.NDArray[np.float64] | None:
        """a, b, c, d, none negative; None before steps of two sizes were seen."""
        if self._stale and len(self._steps) > 1:
            self._fitted = _fit([sample for steps in self._steps.values() for sample in steps])
            self._stale = False
        return self._fitted


def _row(work: Work) -> npt.NDArray[np.float64]:
    return np.array((work.passes, work.tokens, work.cells, work.outputs))


def _fit(samples: list[tuple[Work, float]]) -> npt.NDArray[np.float64]:
    """Least squares of relative errors, without negative coefficients: the most negative one is left out in turn."""
    rows = np.array([_row(work) for work, _ in samples]) / np.array([[seconds] for _, seconds in samples])
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-300)
    rows /= scale
    used, result = [0, 1, 2, 3], np.zeros(4)
    while used:
        solution = np.linalg.lstsq(rows[:, used], np.ones(len(rows)), rcond=1e-6)[0]
        if solution.min() >= 0.0:
            result[used] = solution
            break
        del used[int(solution.argmin())]
    return np.asarray(result / scale)
