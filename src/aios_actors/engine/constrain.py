"""Constrained decoding with llguidance: which tokens are allowed next, and which are forced.

Contract: a `Grammars` belongs to one vocabulary and compiles constraints; `matcher` gives one generation's `Matcher`
or raises `ConstraintError` with llguidance's reason. A matcher's state depends on the tokens that it consumed alone.
Forced tokens are those that the constraint leaves no choice about; they are appended without sampling (jump-forward).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import llguidance
import numpy as np
import numpy.typing as npt

from aios_actors.engine.families import Family
from aios_actors.engine.families.base import quoted
from aios_actors.engine.messages import Choice, Constraint, JsonSchema, Regex, ToolCalls, ToolSchema
from aios_actors.engine.vocab import Vocab

_COMPACT_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class ConstraintError(Exception):
    """Raised when a constraint cannot be enforced; the message has the reason."""


class Matcher:
    """The state of one generation's constraint."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab: Vocab) -> None:
        self._matcher = matcher
        self._vocab = vocab

    def consume(self, tokens: Sequence[int]) -> None:
        """Advance over generated tokens. Raises `ConstraintError` if they break the constraint."""
        for token in tokens:
            if token in self._vocab.eog:
                return
            if not self._matcher.consume_token(token):
                raise ConstraintError(f"token {token} breaks the constraint: {self._matcher.get_error()}")

    def forced(self) -> list[int]:
        """The tokens that must follow here, possibly none.

        Text that spells a special token is tokenized to that token, which is not what was meant: it ends the list, and
        is spelled in other tokens next time.
        """
        tokens = list(self._matcher.compute_ff_tokens())
        if not tokens:
            return []
        meant = tokens[: self._matcher.validate_tokens(tokens)]
        return meant or [self._vocab.longest_prefix(self._matcher.compute_ff_bytes())]

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        if self._matcher.is_stopped():
            return True
        if not self._matcher.is_accepting():
            return False
        mask = self.mask()
        for token in self._vocab.eog:
            mask[token >> 5] &= ~np.uint32(1 << (token & 31))
        return not mask.any()

    def mask(self) -> npt.NDArray[np.uint32]:
        """The set of allowed tokens, one bit each; shape (ceil(vocabulary / 32),)."""
        mask = np.zeros(-(-self._vocab.size // 32), np.uint32)
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        return mask


class Grammars:
    """Compiles constraints for one vocabulary. Making it costs about a second for 128k tokens."""

    def __init__(self, vocab: Vocab, family: Family) -> None:
        self._vocab = vocab
        self._family = family
        self._tokenizer = llguidance.LLTokenizer.from_llamacpp(
            tokens=vocab.marked_pieces,
            vocab_ptr=vocab.pointer,
            tokenize_fptr=ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value,
            eos_token=sorted(vocab.eog),
            slices=None,
        )

    def matcher(
        self, constraint: Constraint, tools: Sequence[ToolSchema], *, reasoning: bool = False
    ) -> Matcher | None:
        """A matcher at its start, or None if the constraint allows everything.

        `reasoning`: the prompt ends inside the model's reasoning. Raises `ConstraintError`.
        """
        grammar = self._grammar(constraint, tools, reasoning)
        if grammar is None:
            return None
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ConstraintError(matcher.get_error().split("\n<state>")[0].strip())
        return Matcher(matcher, self._vocab)

    def _grammar(self, constraint: Constraint, tools: Sequence[ToolSchema], reasoning: bool) -> str | None:
        match constraint:
            case JsonSchema(schema=schema):
                return self._json(schema)
            case Regex(pattern=pattern):
                return str(llguidance.LLMatcher.grammar_from_regex(pattern))
            case Choice(options=options):
                if not options:
                    raise ConstraintError("a choice needs at least one option")
                return _lark("start: " + " | ".join(map(quoted, options)))
            case ToolCalls(mode=mode):
                return self._tool_calls(mode, tools, reasoning)

    def _json(self, schema: dict[str, object]) -> str:
        try:
            return str(llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=_COMPACT_STYLE))
        except ValueError as error:
            raise ConstraintError(str(error)) from error

    def _tool_calls(self, mode: str, tools: Sequence[ToolSchema], reasoning: bool) -> str | None:
        if not tools and mode == "required":
            raise ConstraintError("a tool call is required, but the prompt has no tools")
        allowed = tools if mode != "none" else ()
        if not allowed and not self._family.openers:
            return None
        thought = self._thought(reasoning)
        answers = [] if mode == "required" else ["text"]
        answers += ["call"] if mode == "required" else ["text? call"] if allowed else []
        rules = [f"start: {thought}({' | '.join(answers)})", self._text_rule()]
        if allowed:
            rules.append(self._family.call_rules(allowed, self._literal))
        return _lark("\n".join(rules))

    def _thought(self, inside: bool) -> str:
        """The part before the answer in which a reasoning model thinks, if this one does."""
        opener, closer = self._family.reasoning
        if opener not in self._family.template and self._vocab.special(opener) is None:
            return ""
        if self._vocab.special(closer) is None:
            return ""
        body = f"text? {self._literal(closer)} "
        return body if inside else f"({self._literal(opener)} {body})? "

    def _text_rule(self) -> str:
        """Any text in which no call begins. Markers that are tokens of their own are no text anyway."""
        spelled = [m for m in self._family.openers if self._vocab.special(m) is None]
        if self._family.bare_opener:
            return "text: TEXT\nTEXT: /[^{](?s:.)*/"
        exclusions = "".join(f" & ~/(?s:.*){_regex_quoted(m)}(?s:.*)/" for m in spelled)
        return f"text: TEXT\nTEXT: /(?s:.+)/{exclusions}"

    def _literal(self, marker: str) -> str:
        token = self._vocab.special(marker)
        return quoted(marker) if token is None else f"<[{token}]>"


def _lark(rules: str) -> str:
    return str(llguidance.LLMatcher.grammar_from_lark(rules))


def _regex_quoted(text: str) -> str:
    return "".join(f"\\{c}" if not c.isalnum() and c not in "_<>" else c for c in text)
