"""How a query in anybody's words becomes queries of SQLite's FTS5.

Contract: any string is safe, whatever quotes or operators it holds, since only words cut out of it, or its trigrams,
reach FTS5, each in quotes. Nothing here touches the database.
"""

import hashlib
import re
import unicodedata
from itertools import islice

WORD_LIMIT = 64
"""Words of a query that count; FTS5 limits the depth of an expression."""

GRAM_LIMIT = 256
PREFIX_FROM = 3
"""Shorter words must match whole: as prefixes they would match half of the vocabulary."""

_WORD = re.compile(r"[^\W_]+")


def words(query: str) -> tuple[str, ...]:
    """The distinct words of a query in order, at most WORD_LIMIT."""
    return tuple(dict.fromkeys(_WORD.findall(unicodedata.normalize("NFC", query).lower())))[:WORD_LIMIT]


def scope(owner: str) -> str:
    """The token that marks an owner's notes in the index: a hash in digits, which no tokenizer or stemmer changes."""
    return str(int.from_bytes(hashlib.sha256(owner.encode()).digest()[:16]))


def match_words(owner: str, found: tuple[str, ...]) -> str:
    """The FTS5 expression: any of the words, among the owner's notes.

    A word of at least PREFIX_FROM letters also matches as a prefix. One that matches whole does so twice, and ranks
    higher for it.
    """
    terms = [f'"{word}"' for word in found]
    terms += [f'"{word}"*' for word in found if len(word) >= PREFIX_FROM]
    return f'scope : "{scope(owner)}" AND text : ({" OR ".join(terms)})'


def fold(text: str) -> str:
    """Text without differences of case and of Unicode form; what the trigram index holds."""
    return unicodedata.normalize("NFKC", text.replace("\x00", " ")).casefold()  # NUL ends an FTS5 expression


def trigrams(query: str) -> frozenset[str]:
    """All runs of three letters in the query's folded words; of the whole query if it has no word."""
    folded = fold(query)
    pieces = _WORD.findall(folded) or [folded.strip()]
    grams = (piece[start : start + 3] for piece in pieces for start in range(len(piece) - 2))
    return frozenset(islice(grams, GRAM_LIMIT))


def match_trigrams(grams: frozenset[str]) -> str:
    """The FTS5 expression: any of the trigrams."""
    return " OR ".join('"' + gram.replace('"', '""') + '"' for gram in sorted(grams))


def overlap(grams: frozenset[str], text: str) -> float:
    """Share of the trigrams that occur in the text, 0 to 1; 0 if there are none."""
    folded = fold(text)
    return sum(gram in folded for gram in grams) / max(len(grams), 1)
