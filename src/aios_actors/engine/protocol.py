"""The frames between the node and a worker process.

Contract: plain data; how it travels is in `framing`. The worker sends `Hello`; the node answers `Start`; the worker
sends `Loading` any number of times and then `Ready` or `StartFailed`. After `Ready` every `Submit` ends in exactly one
`Event` whose `finish` is not empty.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from aios_actors.engine.messages import Constraint, Prompt, Sampling, ToolCall
from aios_actors.engine.spec import ModelInfo, WorkerSpec

VERSION = 1
TOKEN_VARIABLE = "AIOS_WORKER_TOKEN"  # the environment variable with the secret that a worker says in its `Hello`

FinishReason = Literal["", "stop", "length", "tool_calls", "slice", "preempted", "cancelled", "error"]
ErrorCode = Literal[
    "prompt_too_long",  # it can never fit one sequence's context
    "bad_prompt",  # the template refused it, a token is unknown, it is empty
    "bad_sampling",
    "no_embeddings",  # the model was not made for them
    "bad_adapter",  # the worker has no adapter of that name
    "bad_constraint",  # the schema, regex or choice cannot be enforced; the message has the reason
    "duplicate_id",
    "decode_failed",  # llama.cpp reported an error for this sequence
    "internal",  # an error of the engine itself; the others go on
]
StartErrorCode = Literal[
    "no_file", "not_gguf", "load_failed", "context_failed", "bad_spec", "bad_template", "bad_adapter"
]


class Fault(Struct, frozen=True, omit_defaults=True):
    """Why one request failed; `message` says what, where and what to do.

    With `prompt_too_long`, `tokens` is the prompt's length and `window` that of a sequence.
    """

    code: ErrorCode
    message: str
    tokens: int = 0
    window: int = 0


class TokenLogprob(Struct, frozen=True):
    """The natural-log probability of a chosen token, and the likeliest tokens with theirs, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Result(Struct, frozen=True, omit_defaults=True):
    """What a request came to; comes with the event that finishes it.

    `text` is all visible text, that of `Submit.generated` included, without tool calls, reasoning and stop strings.
    `prompt_tokens` are the prompt's ids as the engine tokenised it; `tokens` are all generated ids, those of
    `Submit.generated` and the end-of-generation token included: pass them as `generated` to go on. `tokens_cached` is
    how many prompt tokens came from the KV cache, `tokens_out` how many tokens this request itself generated, of which
    `tokens_forced` were determined by the constraint and not sampled. `tokens_computed` went through the model for this
    request, whatever was computed again and wrong drafts included: `tokens_drafted` were computed on speculation, and
    `tokens_accepted` of these were what the sampler chose. `pages_in` and `pages_out` were moved to make room and a
    prefix for it. Times are in seconds: `queue_s` from the worker's receipt to
    the first computation, `prefill_s` from there to the first new token, `decode_s` to the end.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    prompt_tokens: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_computed: int = 0
    tokens_out: int = 0
    tokens_forced: int = 0
    tokens_drafted: int = 0
    tokens_accepted: int = 0
    pages_in: int = 0
    pages_out: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    error: Fault | None = None


class Event(Struct, frozen=True, omit_defaults=True):
    """What one step did for one request: new token ids, new visible text, and at the end `finish` with `result`."""

    id: int
    tokens: tuple[int, ...] = ()
    text: str = ""
    finish: FinishReason = ""
    result: Result | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class EngineStats(Struct, frozen=True):
    """Counters since the start, and the state now. Times in seconds.

    `prefill_tokens` and `decode_tokens` were computed, drafts being among the latter; `cached_tokens` were found in the
    KV cache or paged in; `forced_tokens` were set by constraints, `drafted_tokens` computed on speculation, and
    `accepted_tokens` of these were right. `kv_tokens` of `kv_capacity` cells hold tokens, parked ones included.
    `suspended` counts how often a running request had to give its cells to others for a while. `pages_ahead` of the
    `pages_in` were fetched for conversations that were about to go on. `pages` of evicted conversations take
    `page_bytes` of host memory and `disk_bytes` of disk; `pages_refused` were damaged or foreign, and computed again.
    `slots_moved` sequences changed places to be neighbours of others that run. `batch_fill` is the mean number of
    tokens in a decode call, `step_s` the mean time of a step, `hit_rate` the share of prompt tokens that were found and
    not computed.
    """

    steps: int = 0
    running: int = 0
    waiting: int = 0
    parked: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    cached_tokens: int = 0
    forced_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    kv_tokens: int = 0
    kv_capacity: int = 0
    suspended: int = 0
    pages: int = 0
    page_bytes: int = 0
    disk_bytes: int = 0
    pages_out: int = 0
    pages_in: int = 0
    pages_ahead: int = 0
    pages_refused: int = 0
    slots_moved: int = 0
    batch_fill: float = 0.0
    step_s: float = 0.0
    busy_s: float = 0.0
    hit_rate: float = 0.0


class Start(Struct, frozen=True, tag="start"):
    """Load this model; the first frame of the node."""

    spec: WorkerSpec


class Submit(Struct, frozen=True, omit_defaults=True, tag="submit"):
    """Generate a continuation of `prompt`.

    `id` is unique among the node's live requests. `generated` are tokens that an earlier run of the same request
    already produced, on any worker: the continuation is what it would have been without the interruption. `slice` n
    stops with finish `slice` after n new tokens and keeps the KV parked. `conversation` names whose KV it is, so that
    it stays parked after the end for the next turn; empty: the prefix is still found by its tokens, but it is the first
    to be evicted. Higher `priority` is admitted first; equal ones in order of arrival. `adapters` are the LoRA adapters
    to compute with, each with its scale. A prompt after which there is no room for `reserve` tokens, but at most a
    quarter of the context, is too long. The first token is told at once, later ones every `report_s` seconds and at the
    end; 0: each step's. With `retell` the text of `generated` is told as well, for a listener that has not heard it.
    """

    id: int
    prompt: Prompt
    sampling: Sampling = Sampling()
    constraint: Constraint | None = None
    generated: tuple[int, ...] = ()
    conversation: str = ""
    slice: int = 0
    priority: int = 0
    adapters: dict[str, float] = {}
    reserve: int = 1
    report_s: float = 0.0
    retell: bool = False


class Cancel(Struct, frozen=True, tag="cancel"):
    """End a request with finish `cancelled`; unknown ids are ignored (it may have just finished)."""

    id: int


class Preempt(Struct, frozen=True, tag="preempt"):
    """End a request with finish `preempted`, its KV parked; unknown ids are ignored."""

    id: int


class Forget(Struct, frozen=True, tag="forget"):
    """A conversation is over: its parked KV may go first."""

    conversation: str


class Hold(Struct, frozen=True, tag="hold"):
    """A conversation is expected to go on in so many seconds: what goes on latest leaves its slot first."""

    conversation: str
    seconds: float


class Tokenize(Struct, frozen=True, tag="tokenize"):
    """Ask for the ids of a prompt as the engine would see it; answered by `Tokenized`."""

    id: int
    prompt: Prompt


class Embed(Struct, frozen=True, tag="embed"):
    """Turn texts into vectors; answered by `Embedded`. `id` is of the same numbers as those of `Submit`."""

    id: int
    texts: tuple[str, ...]


class Ping(Struct, frozen=True, tag="ping"):
    """Heartbeat; answered by `Pong` between two steps."""

    n: int


class Shutdown(Struct, frozen=True, tag="shutdown"):
    """End what is live with finish `preempted`, then close the socket and exit with 0."""


class Hello(Struct, frozen=True, tag="hello"):
    """The worker's first frame; `token` is the secret that the node gave it."""

    token: str
    pid: int
    version: int = VERSION


class Loading(Struct, frozen=True, tag="loading"):
    """How far the model is loaded, 0 to 1."""

    progress: float


class Ready(Struct, frozen=True, tag="ready"):
    """The model is loaded and requests are served."""

    model: ModelInfo


class StartFailed(Struct, frozen=True, tag="start_failed"):
    """The model cannot be served; the worker exits. Restarting it with the same spec would fail again."""

    code: StartErrorCode
    message: str


class Step(Struct, frozen=True, tag="step"):
    """All that happened since the last frame."""

    events: tuple[Event, ...]


class Tokenized(Struct, frozen=True, omit_defaults=True, tag="tokenized"):
    """The ids of a prompt, or why it has none."""

    id: int
    tokens: tuple[int, ...] = ()
    error: Fault | None = None


class Embedded(Struct, frozen=True, omit_defaults=True, tag="embedded"):
    """The vectors of an `Embed`, in its order, or why there are none.

    Each is little-endian 32-bit floats of Euclidean length 1. `tokens` is how many the texts had.
    """

    id: int
    vectors: tuple[bytes, ...] = ()
    tokens: int = 0
    error: Fault | None = None


class Pong(Struct, frozen=True, tag="pong"):
    """Answer to a heartbeat."""

    n: int
    stats: EngineStats


NodeFrame = Start | Submit | Cancel | Preempt | Forget | Hold | Tokenize | Embed | Ping | Shutdown
WorkerFrame = Hello | Loading | Ready | StartFailed | Step | Tokenized | Embedded | Pong
