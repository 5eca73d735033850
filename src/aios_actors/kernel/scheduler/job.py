"""One LLM call on its way through the scheduler: its ticket in the line, and what its reply will tell."""

import asyncio
from dataclasses import dataclass, field

import msgspec

from aios_actors.actors import Reply
from aios_actors.engine.messages import ChatPrompt, Prompt, TextPrompt, TokenPrompt
from aios_actors.kernel.accounts import Account
from aios_actors.kernel.llm_core.messages import Outcome
from aios_actors.kernel.scheduler.line import Line, Turn
from aios_actors.kernel.scheduler.policies import Ticket
from aios_actors.syscalls.llm import Chat, ChatReply, Usage

_OF_A_TURN = (
    "prefill_s",
    "decode_s",
    "tokens_computed",
    "tokens_forced",
    "tokens_drafted",
    "tokens_accepted",
    "pages_in",
    "pages_out",
)
"""What is summed up over the turns of a call; fields of `Result` and of `Usage`."""

BYTES_PER_TOKEN = 4
"""Of English text, roughly; a worker tells the truth later."""


@dataclass(eq=False, slots=True)
class Job:
    """An LLM call that waits or runs.

    Attributes:
        ticket: its place in the line; the id is the number of its syscall, and of the request on the worker.
        line: the line of its model.
        account: of the task that it is a part of.
        call: the syscall.
        reply: the agent's reply slot.
        prompt: what a worker is to continue; as tokens, once a worker has told them.
        wanted: tokens that it would generate at most, when its turn began.
        granted: those of them that its budgets allow in this turn.
        on_worker: whether the LLM core has it.
        queue_s: seconds that it waited on workers before they began.
        tokens_in, tokens_cached: of its first dispatch that told them.
        worked: what its turns on workers came to.
        preemptions: how often it was taken off its worker for another call.
        restarts: how often its worker died under it.
        task: what awaits its worker, while it runs.
        journalled: what its generation is kept under beyond the node's life; "" if it is in no journal.
        held_at: clock time since which it is held, because its agent is paused; None if it is not.
    """

    ticket: Ticket
    line: Line
    account: Account
    call: Chat
    reply: Reply[ChatReply]
    prompt: Prompt
    wanted: int = 0
    granted: int = 0
    on_worker: bool = False
    queue_s: float = 0.0
    tokens_in: int = 0
    tokens_cached: int = 0
    worked: Usage = field(default_factory=Usage)
    preemptions: int = 0
    restarts: int = 0
    task: asyncio.Task[None] | None = None
    journalled: str = ""
    held_at: float | None = None

    @property
    def id(self) -> int:
        """Number of its syscall."""
        return self.ticket.id

    @property
    def caller(self) -> str:
        """Name of the agent."""
        return self.ticket.agent

    @property
    def name(self) -> str:
        """What the context actor knows its generation by."""
        return self.journalled or f"job-{self.id}"

    @property
    def switched(self) -> bool:
        """Whether it ran before, so that its generation is with the context actor."""
        return self.preemptions + self.restarts > 0

    def take_in(self, outcome: Outcome) -> Turn:
        """Notes what a stretch on a worker brought, and returns that as a turn."""
        result, generated = outcome.result, len(outcome.generated) - self.ticket.generated
        if result is None:
            return Turn(0, 0, generated)
        self.queue_s += result.queue_s
        self.worked += Usage(**{name: getattr(result, name) for name in _OF_A_TURN})
        if not self.tokens_in:
            self.tokens_in, self.tokens_cached = result.tokens_in, result.tokens_cached
        self.prompt = TokenPrompt(result.prompt_tokens, self.call.tools)
        self.ticket.prompt_tokens = len(result.prompt_tokens)
        return Turn(result.tokens_in, result.tokens_cached, generated)

    def usage(self, now: float) -> Usage:
        """What it cost up to now."""
        return msgspec.structs.replace(
            self.worked,
            tokens_in=self.tokens_in,
            tokens_cached=self.tokens_cached,
            tokens_out=self.ticket.generated,
            waiting_s=self.ticket.waited + self.queue_s,
            turnaround_s=now - self.ticket.arrived,
            preemptions=self.preemptions,
            restarts=self.restarts,
        )


def estimated_tokens(prompt: Prompt) -> int:
    """How many tokens a prompt has; roughly, for one that is still text."""
    match prompt:
        case ChatPrompt(messages):
            return sum(len(message.content) for message in messages) // BYTES_PER_TOKEN + 1
        case TextPrompt(text):
            return len(text) // BYTES_PER_TOKEN + 1
        case _:
            return len(prompt.tokens)
