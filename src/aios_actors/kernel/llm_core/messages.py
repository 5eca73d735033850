"""What the LLM core says to the scheduler and to its worker links, and they to it. Internal to the kernel."""

from collections.abc import Callable
from typing import Literal

import msgspec

from aios_actors.actors import Message
from aios_actors.engine.messages import Constraint, Prompt, Sampling
from aios_actors.engine.protocol import Embedded, Event, NodeFrame, Result, StartErrorCode
from aios_actors.engine.spec import ModelInfo
from aios_actors.kernel.accounts import Account
from aios_actors.syscalls.llm import Embeddings


class Outcome(msgspec.Struct, frozen=True):
    """How a stretch of a generation on a worker ended.

    Attributes:
        finish: "stop", "length", "tool_calls": it is complete; "slice": it used up its slice, or "lost": its worker
            died; then it can go on from `generated`. "no_place": no worker has a place for it, it did not run.
        generated: all tokens generated so far.
        result: what the worker said of it; None when it was lost.
    """

    finish: Literal["stop", "length", "tool_calls", "slice", "lost", "no_place"]
    generated: tuple[int, ...]
    result: Result | None = None


class Generate(Message[Outcome], frozen=True):
    """Run a generation on some worker of `model` until it ends or its slice is over.

    Attributes:
        id: number of the job.
        caller: name of the agent.
        model: name of the model.
        prompt: what to continue.
        sampling, constraint: how.
        generated: tokens of earlier stretches.
        conversation: key under which workers keep its KV.
        slice: tokens before it stops; 0 for no bound.
        priority: what its worker computes first; higher is sooner.
        adapters: LoRA adapters to compute with, each with its scale.
        reserve: tokens that must be left to generate, or the prompt is too long.
        on_text: called with each new piece of text.
        retell: whether it is also told the text of `generated`, which it has not heard.
        account: charged with what is generated in vain, when nobody waits for it any more.
    """

    id: int
    caller: str
    model: str
    prompt: Prompt
    sampling: Sampling
    constraint: Constraint | None = None
    generated: tuple[int, ...] = ()
    conversation: str = ""
    slice: int = 0
    priority: int = 0
    adapters: dict[str, float] = msgspec.field(default_factory=dict)
    reserve: int = 1
    on_text: Callable[[str], None] | None = None
    retell: bool = False
    account: Account | None = None


class PreemptJob(Message[None], frozen=True):
    """From the scheduler: this generation is to make room now; it ends as "slice". No error if it has just ended."""

    id: int


class EmbedTexts(Message[Embeddings], frozen=True):
    """Turn texts into vectors on some worker of `model`.

    Attributes:
        id: number of the syscall; of the same numbers as those of `Generate`.
        caller: name of the agent.
        model: name of the model.
        texts: what to embed.

    Errors: EmbeddingFailed, ModelUnavailable.
    """

    id: int
    caller: str
    model: str
    texts: tuple[str, ...]


class AgentWaits(Message[None], frozen=True):
    """From the tool actor: this agent waits for a tool, and is expected to go on in so many seconds."""

    agent: str
    seconds: float


class Capacity(Message[None], frozen=True):
    """To the scheduler: a model now has this many places for generations.

    `error` says why there are none and will be none.
    """

    model: str
    places: int
    error: str = ""


class WorkerState(msgspec.Struct, frozen=True):
    """A worker as the core sees it.

    Attributes:
        worker: its number.
        model: name of its model.
        pid: id of its process; 0 while there is none that serves.
        places: generations that it can run at the same time.
        running: generations that it runs.
        deaths: how often it died lately.
        error: why it was given up; "" if it was not.
    """

    worker: int
    model: str
    pid: int
    places: int
    running: int
    deaths: int
    error: str


class ListWorkers(Message[tuple[WorkerState, ...]], frozen=True):
    """What every worker does now."""


class ForgetAgent(Message[None], frozen=True):
    """From the agent host: this agent has ended, and no one will go on with its conversations."""

    agent: str


class TellCapacity(Message[None], frozen=True):
    """From a scheduler that has just started: tell it each model's `Capacity`."""


class AwaitReady(Message[tuple[ModelInfo, ...]], frozen=True):
    """Answered when each worker serves. Errors: ModelUnavailable as soon as one cannot."""


class WorkerReady(Message[None], frozen=True):
    """From a link: its worker, the process `pid`, serves."""

    worker: int
    pid: int
    info: ModelInfo


class WorkerUnfit(Message[None], frozen=True):
    """From a link: its worker cannot serve, and would not on another try."""

    worker: int
    code: StartErrorCode
    message: str


class Stepped(Message[None], frozen=True):
    """From a link: what happened in a step of its worker."""

    worker: int
    events: tuple[Event, ...]


class TextsEmbedded(Message[None], frozen=True):
    """From a link: its worker has answered an embedding request."""

    embedded: Embedded


class Restart(Message[None], frozen=True):
    """From the core's own timer: start this worker again."""

    worker: int


class Send(Message[None], frozen=True):
    """To a link: pass this frame to the worker."""

    frame: NodeFrame


class Beat(Message[None], frozen=True):
    """From a link's own timer: see whether the worker still answers."""
