"""Prompt-lookup speculation: what a sequence has said before, it may be saying again.

Contract: `Speculation.drafts` proposes tokens for running sequences, found by n-gram lookup in their own prompts and
outputs; the step loop computes them along and the sampler confirms or rejects them one by one, so a draft changes how
many tokens a step brings and never which. Whether a draft pays is decided from two measurements: how often the lookup
was right lately, which is observed on every generated token whether it was drafted or not, and what a token more in
the batch costs by the cost model. The method is prompt lookup decoding (Saxena, 2023; in vLLM "ngram").

Drafts change the batch's shape, and with it the last bits of logits where llama.cpp's kernels depend on it. One token
at a time against 2 to 200 at once: f16 KV on the CPU gave the same bits; q8_0 keys with bf16 values moved the logits
of the embedded model by 0.0045 on average and 0.1 at most (their standard deviation is 2.6), and of 200 greedy choices
none differed. A choice between tokens as near as that may fall the other way, as beside any other neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

from aios_actors.engine.spec import Speculate

LONGEST_DRAFT = 16
_GRAM = 3  # shorter ones match by accident, longer ones later
_FADING = 0.8  # of a sequence's hit rate, for each token: five right ones in a row lift it from 0 to 0.67
_SHARED_FADING = 0.99  # of the rate with which new sequences begin
_PRICE = 0.5  # of a token more, against its share of a step, while that is not measured


class Lookup:
    """The n-grams of one sequence, each with the place after its latest occurrence.

    `rate` is the share of generated tokens that were foretold right, fading; it starts with `rate`. `tokens` is the
    sequence's own list, which only grows.
    """

    def __init__(self, tokens: Sequence[int], rate: float = 0.0) -> None:
        self.rate = rate
        self._tokens = tokens
        self._after: dict[tuple[int, ...], int] = {}
        self._seen = 0
        self._match = -1  # the place whose token is foretold to come next; -1: nothing is
        self._advance()

    def observe(self) -> list[bool]:
        """Take note of the new tokens; for each for which a token was foretold, whether that was right."""
        outcomes = self._advance()
        for right in outcomes:
            self.rate += (right - self.rate) * (1.0 - _FADING)
        return outcomes

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next; a repetition that reaches the end goes on with itself."""
        if self._match < 0:
            return []
        period = len(self._tokens) - self._match
        return [self._tokens[self._match + i % period] for i in range(most)]

    def _advance(self) -> list[bool]:
        outcomes = []
        tokens, after, match = self._tokens, self._after, self._match
        for place in range(self._seen, len(tokens)):
            right = match >= 0 and tokens[place] == tokens[match]
            if match >= 0:
                outcomes.append(right)
            gram = tuple(tokens[max(place + 1 - _GRAM, 0) : place + 1])
            # What is being repeated goes on where it is; only after a miss the latest place counts.
            match = match + 1 if right else after.get(gram, -1)
            if len(gram) == _GRAM:
                after[gram] = place + 1
        self._seen, self._match = len(tokens), match
        return outcomes


class Speculation:
    """Decides for all sequences of an engine who drafts how much.

    `mode` is the worker's setting. `split`: the KV cache has a stream for each sequence, so that llama.cpp computes
    sequences with different numbers of tokens one after the other, reading all weights again for each number.
    """

    def __init__(self, mode: Speculate, *, split: bool) -> None:
        self._mode = mode
        self._split = split
        self._rate = 0.0

    def lookup(self, tokens: Sequence[int]) -> Lookup | None:
        """The lookup of a new sequence; None if nothing is ever drafted."""
        return None if self._mode == "off" else Lookup(tokens, self._rate)

    def drafts(self, wanted: Sequence[tuple[Lookup, int]], line: tuple[float, float] | None) -> list[list[int]]:
        """What each decoder drafts in this step, often nothing.

        Args:
            wanted: each decoder's lookup, and the most tokens that it can take.
            line: seconds of a step, and seconds more for each token in it; None while that is not known.
        """
        for lookup, _ in wanted:
            for right in lookup.observe():
                self._rate += (right - self._rate) * (1.0 - _SHARED_FADING)
        price = _PRICE if line is None else line[1] / _share(line, len(wanted))
        drafts = [lookup.draft(self._length(lookup.rate, most, price)) for lookup, most in wanted]
        if not self._split or len(wanted) == 1 or self._mode == "on":
            return drafts
        return self._level([lookup.rate for lookup, _ in wanted], drafts, line)

    def _length(self, rate: float, most: int, price: float) -> int:
        """How many drafted tokens are likelier to be right than they are dear.

        A token that a step brings costs its share of the step; a drafted one adds `price` of that, and brings a token
        if it and all before it are right.
        """
        most = min(most, LONGEST_DRAFT)
        if self._mode == "on":
            return most
        length, likely = 0, rate
        while length < most and likely > price:
            length += 1
            likely *= rate
        return length

    def _level(self, rates: list[float], drafts: list[list[int]], line: tuple[float, float] | None) -> list[list[int]]:
        """All drafts cut to one length, or none if they do not pay the pass more that they make necessary."""
        drafting = [rate for rate, draft in zip(rates, drafts, strict=True) if draft]
        if line is None or not drafting:
            return [[] for _ in drafts]
        common = min(len(draft) for draft in drafts if draft)
        brings = sum(rate**n for rate in drafting for n in range(1, common + 1)) * _share(line, len(drafts))
        another_pass = line[0] if len(drafting) < len(drafts) else 0.0
        if brings <= another_pass + line[1] * common * len(drafting):
            return [[] for _ in drafts]
        return [draft[:common] for draft in drafts]


def _share(line: tuple[float, float], decoders: int) -> float:
    """Seconds for each token of a step in which `decoders` sequences decode."""
    return line[0] / decoders + line[1]
