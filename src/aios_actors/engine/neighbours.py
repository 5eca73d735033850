"""Where the sequences that compute should be: next to each other.

Contract: pure. From split streams llama.cpp computes only neighbouring sequences in one pass (`passes.py`). Agents that
wait for tools leave gaps, and come back to wherever their tokens are, so that ten decoders of 24 sequences lie in six
places and take twice the time. `closest` finds the fewest moves that make neighbours of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def closest(busy: Collection[int], lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Moves, pairs of a busy sequence and one that is not, after which all busy ones are neighbours.

    Args:
        busy: sequences that compute.
        lengths: how many tokens each of all sequences holds; of windows with as few moves the one is chosen in which
            they move the fewest tokens.
    """
    count, chosen = len(busy), frozenset(busy)

    def moves(first: int) -> list[tuple[int, int]]:
        window = range(first, first + count)
        return list(zip((s for s in busy if s not in window), (s for s in window if s not in chosen), strict=True))

    def effort(candidate: list[tuple[int, int]]) -> tuple[int, int]:
        return len(candidate), sum(lengths[source] + lengths[target] for source, target in candidate)

    return min(map(moves, range(len(lengths) - count + 1)), key=effort)
