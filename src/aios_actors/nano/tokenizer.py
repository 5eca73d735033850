"""The nano model's byte-level BPE tokenizer, built so that a word's tokens do not depend on what stands before it.

Byte-level BPE in the GPT-2 form glues a leading space to a word, so ` zorvek`, `"zorvek"` and `/zorvek` usually
differ, and a small model then copies badly. Here merges are learned on words without the space; after them come only
merges of the space with a few whole words (`SPACED_WORDS`) with which no name begins, and a few merges of punctuation
for JSON. Digits stay single. The pre-tokenizer is the one that llama.cpp calls "smollm". Needs the `tokenizers`
package.
"""

import re
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from aios_actors.nano.chat import CONTROL_TOKENS, USER_DEFINED_TOKENS
from aios_actors.nano.words import CAPITAL_WORDS, SPACED_WORDS

SPECIAL_TOKENS = (*CONTROL_TOKENS, *USER_DEFINED_TOKENS)
SPACE = "\u0120"  # how byte-level BPE writes the byte 0x20
# Each is a pair of pieces; both exist by the time that the merge is applied.
PUNCTUATION_MERGES = (
    ("{", '"'),
    ('"', ":"),
    ('"', ","),
    (SPACE, '{"'),
    (SPACE, '"'),
    ('"', "}"),
    ('"}', "}"),
    (")", ":"),
)
_WORD = re.compile(r"[A-Za-z]+")


def _spaced_merges(vocabulary: set[str]) -> list[tuple[str, str]]:
    """Merges of the space with whole words that are one token."""
    return [(SPACE, word) for word in (*SPACED_WORDS, *CAPITAL_WORDS) if word in vocabulary]


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 1024) -> Tokenizer:
    """Learns a tokenizer of exactly `vocabulary_size` tokens from `texts`, special tokens first.

    Raises:
        ValueError: the texts are too few to learn that many merges.
    """
    words = (word for text in texts for word in _WORD.findall(text))
    learner = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    learner.train_from_iterator(words, trainer)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learned = [token for token, _ in sorted(learner.get_vocab().items(), key=lambda item: item[1]) if len(token) > 1]
    pairs = _merges(learner)
    # Which words are single tokens depends on how many merges are kept, so keep as many as fit with their spaced forms.
    for count in range(len(learned), 0, -1):
        merges = pairs[:count]
        known = {left + right for left, right in merges}
        spaced = _spaced_merges(known)
        tokens = [*SPECIAL_TOKENS, *alphabet, *dict.fromkeys(left + right for left, right in merges)]
        extra = [left + right for left, right in (*PUNCTUATION_MERGES, *spaced)]
        if len(tokens) + len(extra) <= vocabulary_size:
            break
    if len(tokens) + len(extra) != vocabulary_size:
        raise ValueError(f"{len(tokens) + len(extra)} tokens learned instead of {vocabulary_size}: give more text")
    vocabulary = {token: index for index, token in enumerate([*tokens, *extra])}
    return assemble(vocabulary, [*merges, *PUNCTUATION_MERGES, *spaced])


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    import json

    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def assemble(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """A tokenizer from its vocabulary and merges."""
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in USER_DEFINED_TOKENS])
    return tokenizer


def merges_of(tokenizer: Tokenizer) -> list[str]:
    """The merges in rank order, in the form of the GGUF metadata."""
    return [f"{left} {right}" for left, right in _merges(tokenizer)]


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    """All tokens by index."""
    return [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
