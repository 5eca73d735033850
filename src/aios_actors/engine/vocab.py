"""The vocabulary of a loaded model: text to token ids and back.

Contract: `Vocab` wraps a llama.cpp vocabulary pointer, which the model owns and must outlive. Tokenising only reads,
so any thread may do it. `pieces` hold bytes, not text: a character may be spread over several tokens.
"""

from __future__ import annotations

import ctypes
from functools import cached_property

import llama_cpp


class Vocab:
    """Tokenises, and knows what each token stands for."""

    def __init__(self, pointer: llama_cpp.llama_vocab_p) -> None:
        self.pointer = pointer
        self.size = llama_cpp.llama_vocab_n_tokens(pointer)
        self.bos = _or_none(llama_cpp.llama_vocab_bos(pointer))
        self.eos = _or_none(llama_cpp.llama_vocab_eos(pointer))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(pointer))

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of every token, control tokens by their names; shape (vocabulary,)."""
        buffer = ctypes.create_string_buffer(16 << 10)
        pieces = []
        for token in range(self.size):
            length = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, True)
            pieces.append(buffer.raw[:length] if length > 0 else b"")
        return pieces

    @cached_property
    def marked_pieces(self) -> list[bytes]:
        """The pieces with a 0xFF byte before each token that is no text: how llguidance wants a vocabulary."""
        special = frozenset(self._special_ids.values())
        return [b"\xff" + piece if t in special else piece for t, piece in enumerate(self.pieces)]

    @cached_property
    def control(self) -> frozenset[int]:
        """Tokens that are no text: they are hidden from what the user sees."""
        hidden = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        return frozenset(t for t in range(self.size) if llama_cpp.llama_vocab_get_attr(self.pointer, t) & hidden)

    @cached_property
    def eog(self) -> frozenset[int]:
        """Tokens that end a generation (end of text, end of turn)."""
        return frozenset(t for t in range(self.size) if llama_cpp.llama_vocab_is_eog(self.pointer, t))

    @cached_property
    def _special_ids(self) -> dict[str, int]:
        marked = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        return {
            self.pieces[t].decode("utf-8", "replace"): t
            for t in range(self.size)
            if llama_cpp.llama_vocab_get_attr(self.pointer, t) & marked and self.pieces[t]
        }

    @cached_property
    def control_names(self) -> tuple[str, ...]:
        """The names of the control tokens; in text that a user wrote they are only text."""
        names = (self.pieces[t].decode("utf-8", "replace") for t in sorted(self.control))
        return tuple(name for name in names if name)

    def special(self, name: str) -> int | None:
        """The id of the control or user-defined token called `name`, if the vocabulary has it."""
        return self._special_ids.get(name)

    def longest_prefix(self, text: bytes) -> int:
        """The token of text that spells most of the beginning of `text`."""
        pieces = self.marked_pieces
        return max(range(self.size), key=lambda t: len(pieces[t]) if text.startswith(pieces[t]) else 0)

    def tokenize(self, text: str, *, special: bool = False, add_bos: bool = False) -> list[int]:
        """Token ids of `text`. `special`: names of control tokens become those tokens; else they are plain text.

        `add_bos` puts the tokens in front that the model's metadata asks for.
        """
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 8
        while True:
            buffer = (llama_cpp.llama_token * capacity)()
            count = llama_cpp.llama_tokenize(self.pointer, data, len(data), buffer, capacity, add_bos, special)
            if count >= 0:
                return list(buffer[:count])
            capacity = -count

    def detokenize(self, tokens: list[int] | tuple[int, ...], *, special: bool = True) -> str:
        """The text of `tokens`; with `special` False without control tokens. Broken UTF-8 becomes U+FFFD."""
        shown = tokens if special else [t for t in tokens if t not in self.control]
        return b"".join(self.pieces[t] for t in shown).decode("utf-8", "replace")


def _or_none(token: int) -> int | None:
    return token if token >= 0 else None
