"""Requests to sequences: tokenising, checking, compiling constraints.

Contract: everything that can be wrong with a request is found here, before it takes a slot, and raised as
`RequestError` with what is wrong and what to do. Only reads the model's vocabulary and metadata.
"""

from __future__ import annotations

from aios_actors.engine.adapters import AdapterError
from aios_actors.engine.chat import ChatTemplate, TemplateError
from aios_actors.engine.constrain import ConstraintError, Grammars
from aios_actors.engine.messages import ChatPrompt, Prompt, TextPrompt, TokenPrompt, ToolCalls, ToolSchema
from aios_actors.engine.model import Model
from aios_actors.engine.protocol import ErrorCode, Submit
from aios_actors.engine.sequence import RequestError, Sequence
from aios_actors.engine.stream import TextStream

_TAIL = 8  # tokens at a prompt's end in which an opened reasoning part would show


class Prompts:
    """Prepares requests for one model."""

    def __init__(self, model: Model) -> None:
        self._vocab = model.vocab
        self._adapters = model.adapters
        self._context = model.context_length
        self._template = ChatTemplate(model.chat_template(), model.vocab)
        self.family = self._template.family
        # An encoder has no KV cache, and nothing to continue a text with.
        self._grammars = Grammars(model.vocab, self.family) if model.memory else None
        markers = {self._vocab.special(name) for name in self.family.markers}
        hidden = self._vocab.control - markers
        self._shown = frozenset(range(self._vocab.size)) - hidden

    def tokens(self, prompt: Prompt) -> list[int]:
        """The prompt as token ids. Raises `RequestError`."""
        match prompt:
            case ChatPrompt():
                try:
                    tokens = self._template.tokenize(prompt)
                except TemplateError as error:
                    raise RequestError("bad_prompt", str(error)) from error
            case TextPrompt(text=text, special=special):
                tokens = self._vocab.tokenize(text, special=special, add_bos=True)
            case TokenPrompt(tokens=given):
                tokens = list(given)
                self._check_ids(tokens, "bad_prompt", "the prompt")
        if not tokens:
            raise RequestError("bad_prompt", "the prompt is empty; give at least one token to continue from")
        return tokens

    def sequence(self, submit: Submit, now: float) -> Sequence:
        """A sequence in the state that the request describes. Raises `RequestError`."""
        if self._grammars is None:
            raise RequestError("bad_prompt", "this model embeds texts and generates none; use llm.embed")
        tokens = self.tokens(submit.prompt)
        self._check_length(len(tokens), submit.reserve)
        self._check_ids(list(submit.generated), "bad_prompt", "generated")
        self._check_ids(list(submit.sampling.logit_bias), "bad_sampling", "logit_bias")
        tools = submit.prompt.tools if isinstance(submit.prompt, ChatPrompt | TokenPrompt) else ()
        reasoning = self._ends_in_reasoning(tokens)
        expects_calls = _expects_calls(submit, tools)
        stream = TextStream(submit.sampling.stop, self.family, tools=expects_calls, reasoning=reasoning)
        try:
            matcher = None
            if submit.constraint is not None:
                matcher = self._grammars.matcher(submit.constraint, tools, reasoning=reasoning)
            adapters = self._adapters.key(submit.adapters)
            return Sequence(submit, tokens, stream, matcher, adapters, self._vocab, self._context, self._shown, now)
        except ConstraintError as error:
            raise RequestError("bad_constraint", str(error)) from error
        except AdapterError as error:
            raise RequestError("bad_adapter", str(error)) from error

    def _check_length(self, length: int, reserve: int) -> None:
        room = max(min(reserve, self._context // 4), 1)
        if length + room > self._context:
            raise RequestError(
                "prompt_too_long",
                f"the prompt has {length} tokens, but a sequence holds {self._context} with at least "
                f"{'one' if room == 1 else room} to generate; shorten it or raise the model's context",
                tokens=length,
                window=self._context,
            )

    def _check_ids(self, tokens: list[int], code: ErrorCode, where: str) -> None:
        unknown = next((t for t in tokens if not 0 <= t < self._vocab.size), None)
        if unknown is not None:
            message = f"{where} has token {unknown}; this model's vocabulary ends at {self._vocab.size - 1}"
            raise RequestError(code, message)

    def _ends_in_reasoning(self, tokens: list[int]) -> bool:
        opener = self.family.reasoning[0]
        return self._vocab.detokenize(tokens[-_TAIL:]).rstrip().endswith(opener)


def _expects_calls(submit: Submit, tools: tuple[ToolSchema, ...]) -> bool:
    if isinstance(submit.constraint, ToolCalls):
        return bool(tools) and submit.constraint.mode != "none"
    return bool(tools) and submit.constraint is None
