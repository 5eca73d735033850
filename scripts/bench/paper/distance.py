"""How alike two generations are: BLEU and edit distance over token ids, as the paper's BLEU and BERTScore over words.

BLEU is that of Papineni et al. 2002 over a corpus, with n-grams of up to four tokens, the clipped counts and the
brevity penalty. Edit distance is Levenshtein's. Both are 1 for equal texts after normalisation.
"""

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[int]
ORDER = 4


def bleu(pairs: Sequence[tuple[Tokens, Tokens]]) -> float:
    """Corpus BLEU of (reference, candidate) pairs, 0 to 1."""
    matches, totals = [0] * ORDER, [0] * ORDER
    for reference, candidate in pairs:
        for n in range(1, ORDER + 1):
            known, given = _ngrams(reference, n), _ngrams(candidate, n)
            matches[n - 1] += (known & given).total()
            totals[n - 1] += given.total()
    # Orders that no candidate is long enough for say nothing.
    used = [(match, total) for match, total in zip(matches, totals, strict=True) if total]
    if not used or not all(match for match, _ in used):
        return 0.0
    precision = math.exp(math.fsum(math.log(match / total) for match, total in used) / len(used))
    reference_length = sum(len(reference) for reference, _ in pairs)
    length = sum(len(candidate) for _, candidate in pairs)
    return precision * min(1.0, math.exp(1 - reference_length / length))


def _ngrams(tokens: Tokens, n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def similarity(first: Tokens, second: Tokens) -> float:
    """1 less the edit distance as a share of the longer one's length."""
    longest = max(len(first), len(second))
    return 1.0 - edit_distance(first, second) / longest if longest else 1.0


def edit_distance(first: Tokens, second: Tokens) -> int:
    """The fewest insertions, deletions and replacements of a token that make `first` into `second`."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def first_difference(first: Tokens, second: Tokens) -> int | None:
    """The index at which two generations part; None if they are equal."""
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return None if len(first) == len(second) else min(len(first), len(second))
