"""What a step costs, fitted while running, and how much prefill that leaves room for.

Contract: `observe` takes the size and the duration of a step; `prefill_budget` gives the tokens of prefill that may
share a step with decoders so that it takes at most twice as long as without. The fit is a line, seconds = a + b x
tokens, by least squares with exponentially fading weights, so it follows growing contexts and a busy machine.
"""

from __future__ import annotations

_FADING = 0.98
_FIRST_BUDGET = 64
_SMALLEST_BUDGET = 16


class CostModel:
    """Predicts the seconds of a step from its number of tokens."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """Take note of a step that computed `tokens`."""
        keep = _FADING
        self._weight = self._weight * keep + 1.0
        self._x = self._x * keep + tokens
        self._y = self._y * keep + seconds
        self._xx = self._xx * keep + tokens * tokens
        self._xy = self._xy * keep + tokens * seconds

    def line(self) -> tuple[float, float] | None:
        """(a, b) in seconds and seconds a token; None while the steps seen do not determine them."""
        spread = self._weight * self._xx - self._x * self._x
        if self._weight < 2.0 or spread <= 1e-6 * self._xx * self._weight:
            return None
        slope = (self._weight * self._xy - self._x * self._y) / spread
        start = (self._y - slope * self._x) / self._weight
        return (max(start, 0.0), slope) if slope > 0.0 else None

    def prefill_budget(self, decoding: int) -> int:
        """Tokens of prefill that may join `decoding` tokens of decoders."""
        fitted = self.line()
        if fitted is None:
            return _FIRST_BUDGET
        start, slope = fitted
        return max(_SMALLEST_BUDGET, decoding + int(start / slope))
