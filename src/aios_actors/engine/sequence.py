"""One request on its way through the engine: its tokens, its text and its constraint.

Contract: everything that decides the next token is derived from the request and from the tokens so far, so a sequence
built from a `Submit` with `generated` tokens is in the state of the one that generated them. Nothing here touches
llama.cpp's context; the step loop does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from aios_actors.engine.constrain import ConstraintError, Matcher
from aios_actors.engine.lookup import Lookup
from aios_actors.engine.messages import Sampling, ToolCall
from aios_actors.engine.protocol import (
    ErrorCode,
    Event,
    Fault,
    FinishReason,
    Result,
    Submit,
    TokenLogprob,
)
from aios_actors.engine.sampling import Choice, Row
from aios_actors.engine.stream import TextStream
from aios_actors.engine.vocab import Vocab


class RequestError(Exception):
    """Raised when a request can never be served; becomes its `Fault`."""

    def __init__(self, code: ErrorCode, message: str, tokens: int = 0, window: int = 0) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, tokens, window)


class Sequence:
    """A request's state. `tokens` are prompt and output; the KV of the first `computed` of them is in the cache."""

    def __init__(
        self,
        submit: Submit,
        prompt: list[int],
        stream: TextStream,
        matcher: Matcher | None,
        adapters: str,
        vocab: Vocab,
        context: int,
        shown: frozenset[int],
        now: float,
    ) -> None:
        self.id = submit.id
        self.submit = submit
        self.sampling: Sampling = submit.sampling
        self.adapters = adapters
        self.prompt_length = len(prompt)
        self.tokens = list(prompt)
        self.slot = -1
        self.cached = 0
        self.first_output = 0
        self.finish: FinishReason = ""
        self.received = now
        self.admitted = 0.0
        self.first_token = 0.0
        self.lookup: Lookup | None = None
        self.on_device = False
        self.computed = 0
        self.pages_in = 0
        self.pages_out = 0
        self.suspended = False  # it had to give its cells away, and has not caught up yet
        self.drafted = 0
        self.accepted = 0
        self._vocab = vocab
        self._context = context
        self._shown = shown
        self._stream = stream
        self._matcher = matcher
        self._calls: tuple[ToolCall, ...] = ()
        self.forced = 0
        self._error: Fault | None = None
        self._banned = tuple(vocab.eog) if self.sampling.ignore_eos else ()
        self._reported: float | None = None
        self._new_tokens: list[int] = []
        self._new_text: list[str] = []
        self._new_pieces: list[bytes] = []  # of new tokens: not yet through the stream
        self._new_logprobs: list[TokenLogprob] = []
        self._replay(submit.generated)

    @property
    def owner(self) -> str:
        """Whose page its KV becomes while it is suspended."""
        return self.submit.conversation or f"request {self.id}"

    @property
    def generated(self) -> int:
        """Generated tokens so far, those of earlier slices included."""
        return len(self.tokens) - self.prompt_length

    @property
    def new(self) -> int:
        """Tokens that this request generated itself."""
        return len(self.tokens) - self.first_output

    @property
    def started(self) -> bool:
        """Whether this request decodes: it has sampled a token, and all before it is computed."""
        return self.first_token > 0.0 and not self.suspended

    @property
    def room(self) -> int:
        """How many more tokens it may generate: by its limit, its slice and its context."""
        rooms = (self.sampling.max_tokens - self.generated, self._context - len(self.tokens))
        return min(*rooms, self.submit.slice - self.new) if self.submit.slice else min(rooms)

    @property
    def plainly_greedy(self) -> bool:
        """Whether its next token is the likeliest one, and nothing else is asked of the logits."""
        s = self.sampling
        penalised = s.repeat_penalty != 1.0 or s.frequency_penalty or s.presence_penalty
        changed = penalised or s.logit_bias or s.logprobs is not None or self._banned or self._matcher is not None
        return s.temperature == 0.0 and not changed

    def row(self) -> Row:
        """What the choice of the next token depends on."""
        mask = self._matcher.mask() if self._matcher is not None else None
        return Row(self.sampling, self.tokens, self.generated, mask, self._banned)

    def accept(self, choice: Choice, now: float) -> None:
        """Append a sampled token and what the constraint forces after it; sets `finish` when that ends the request."""
        self.first_token = self.first_token or now
        self.suspended = False
        if choice.token < 0:
            self.fail(Fault("bad_sampling", "no token is left to choose: logit_bias and constraint exclude them all"))
            return
        if choice.logprob is not None:
            self._new_logprobs.append(choice.logprob)
        try:
            if self._matcher is not None:
                self._matcher.consume((choice.token,))
            self._append(choice.token)
            self._force()
        except ConstraintError as error:
            self.fail(Fault("bad_constraint", str(error)))
        self._check_slice()

    def interrupt(self, reason: FinishReason) -> None:
        """End without an end of the text: it can be resumed from its tokens."""
        self.finish = reason

    def fail(self, fault: Fault) -> None:
        """End with an error."""
        self.finish, self._error = "error", fault

    def event(self, now: float) -> Event | None:
        """What happened since the last event; None while nothing is due. With the result once it is finished."""
        if not self.finish and not (self._new_tokens and self._due(now)):
            return None
        self._reported = now
        self._read()
        result = self._result(now) if self.finish else None
        event = Event(
            self.id, tuple(self._new_tokens), "".join(self._new_text), self.finish, result, tuple(self._new_logprobs)
        )
        self._new_tokens, self._new_text, self._new_logprobs = [], [], []
        return event

    def _due(self, now: float) -> bool:
        """Whether it is time to tell of new tokens. Requests with the same period are due together: in one frame."""
        period = self.submit.report_s
        return self._reported is None or not period or now // period > self._reported // period

    def _replay(self, generated: Iterable[int]) -> None:
        """Take the tokens of an earlier run without announcing them again."""
        for token in generated:
            if self._matcher is not None:
                self._matcher.consume((token,))
            self._append(token)
            if self.finish:
                break
        self._read()
        self._new_tokens, self._new_text = [], self._new_text if self.submit.retell else []
        self.first_output = len(self.tokens)
        if not self.finish:
            self._force()
            self._check_slice()

    def _append(self, token: int) -> None:
        """Take one token into the output and its text; notices an end of generation, a stop string and the limits."""
        self.tokens.append(token)
        self._new_tokens.append(token)
        if token in self._vocab.eog:
            self._end("stop")
            return
        if token in self._shown:
            self._new_pieces.append(self._vocab.pieces[token])
        if self.sampling.stop:
            self._read()
        if self._stream.stopped:
            self._end("stop")
        elif self.generated >= self.sampling.max_tokens or len(self.tokens) >= self._context:
            self._end("length")

    def _read(self) -> None:
        """Turn what came since the last time into text: with each token only where it may hold a stop string."""
        if self._new_pieces:
            self._new_text.append(self._stream.push(b"".join(self._new_pieces)))
            self._new_pieces.clear()

    def _force(self) -> None:
        """Append what the constraint leaves no choice about, the end included."""
        if self._matcher is None:
            return
        while not self.finish and (forced := self._matcher.forced()):
            for token in forced:
                self._matcher.consume((token,))
                self._append(token)
                self.forced += 1
                if self.finish:
                    return
        if not self.finish and self._matcher.complete:
            if self._vocab.eos is not None:
                self.forced += 1
                self._append(self._vocab.eos)
            else:
                self._end("stop")

    def _check_slice(self) -> None:
        if not self.finish and 0 < self.submit.slice <= self.new:
            self.interrupt("slice")

    def _end(self, reason: FinishReason) -> None:
        self._read()
        text, self._calls = self._stream.finish(self._call_seed())
        self._new_text.append(text)
        self.finish = "tool_calls" if self._calls and reason == "stop" else reason

    def _call_seed(self) -> str:
        prompt = ",".join(map(str, self.tokens[: self.prompt_length]))
        return hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()

    def _result(self, now: float) -> Result:
        admitted = self.admitted or now
        first = self.first_token or now
        return Result(
            text=self._stream.text,
            reasoning=self._stream.reasoning,
            tool_calls=self._calls,
            prompt_tokens=tuple(self.tokens[: self.prompt_length]),
            tokens=tuple(self.tokens[self.prompt_length :]),
            tokens_in=self.prompt_length,
            tokens_cached=min(self.cached, self.prompt_length),
            tokens_computed=self.computed,
            tokens_out=self.new,
            tokens_forced=self.forced,
            tokens_drafted=self.drafted,
            tokens_accepted=self.accepted,
            pages_in=self.pages_in,
            pages_out=self.pages_out,
            queue_s=admitted - self.received,
            prefill_s=first - admitted,
            decode_s=now - first,
            error=self._error,
        )
