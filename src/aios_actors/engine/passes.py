"""How often a batch goes through all layers of the model.

Contract: pure. From split streams llama.cpp computes together what neighbouring sequences have, as many tokens of each
as the one with the fewest, then goes on with what is left (`split_equal` in its llama-batch.cpp). A pass reads all
weights, so eight decoders whose sequences lie apart take twice as long as neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping


def passes(tokens: Mapping[int, int]) -> int:
    """The number of passes for so many tokens, at least one, of each sequence, by its number."""
    left, count = dict(sorted(tokens.items())), 0
    while left:
        run = _first_run(list(left))
        taken = min(left[sequence] for sequence in run)
        left = {sequence: rest for sequence, n in left.items() if (rest := n - taken * (sequence in run))}
        count += 1
    return count


def _first_run(sequences: list[int]) -> list[int]:
    """The first of these ascending numbers, and those that follow it without a gap."""
    first = sequences[0]
    return [sequence for place, sequence in enumerate(sequences) if sequence == first + place]
