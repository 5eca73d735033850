"""One LLM call on its way through the scheduler, with the times that its reply will tell."""

import asyncio
from dataclasses import dataclass

from aios_actors.actors import Reply
from aios_actors.engine.messages import Prompt
from aios_actors.syscalls.llm import Chat, ChatReply, Usage


@dataclass(eq=False, slots=True)
class Job:
    """An LLM call that waits or runs.

    Attributes:
        id: number of its syscall; also the request's id on the worker.
        caller: name of the agent.
        call: the syscall.
        reply: the agent's reply slot.
        prompt: what a worker is to continue; as tokens, once a worker has told them.
        arrived: clock time of arrival, in seconds.
        waits_since: clock time since which it waits; None while it runs on a worker.
        waited: seconds that it waited up to `waits_since`, in the queue and on the worker.
        tokens_in, tokens_cached: of its first dispatch.
        tokens_out: tokens generated so far.
        preemptions: how often it was taken off its worker for another call.
        restarts: how often its worker died under it.
        task: what awaits its worker, while it runs.
    """

    id: int
    caller: str
    call: Chat
    reply: Reply[ChatReply]
    prompt: Prompt
    arrived: float
    waits_since: float | None = None
    waited: float = 0.0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    preemptions: int = 0
    restarts: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What the context actor knows its generation by."""
        return f"job-{self.id}"

    @property
    def switched(self) -> bool:
        """Whether it ran before, so that its generation is with the context actor."""
        return self.preemptions + self.restarts > 0

    def wait(self, now: float) -> None:
        """It waits from now on."""
        self.waits_since = now

    def run(self, now: float) -> None:
        """It is handed to a worker."""
        if self.waits_since is not None:
            self.waited += now - self.waits_since
        self.waits_since = None

    def usage(self, now: float) -> Usage:
        """What it cost up to now."""
        return Usage(
            tokens_in=self.tokens_in,
            tokens_cached=self.tokens_cached,
            tokens_out=self.tokens_out,
            waiting_s=self.waited,
            turnaround_s=now - self.arrived,
            preemptions=self.preemptions,
            restarts=self.restarts,
        )
