"""An engine that fails, stalls, dies and runs out of memory at random, and keeps book: for the soak of the kernel.

It stands in for the LLM core, and makes for each job the tokens that the job's number determines, so that a token which
a switch loses or doubles is seen. What it is asked to go on from has to be exactly what it said before.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from aios_actors.actors import Actor, MailboxSpec, Message, Reply, handler
from aios_actors.engine.protocol import Result
from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.context import Forget, ForgetOwner, Load, Save
from aios_actors.kernel.llm_core.messages import (
    AgentWaits,
    Capacity,
    ForgetAgent,
    Generate,
    Outcome,
    PreemptJob,
    TellCapacity,
)
from aios_actors.syscalls.context import Snapshot
from aios_actors.syscalls.errors import GenerationFailed, NotFound

MODEL = "chaos"
PROMPT = (1, 2, 3)
STEP_S = 0.01


@dataclass
class Book:
    """What the engine did.

    Attributes:
        generated: tokens that each job had when its last turn ended.
        ended: how often each job ended for good.
        running: those that it runs now.
        wrong: what should never happen.
    """

    generated: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ended: Counter[int] = field(default_factory=Counter)
    running: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


class Recover(Message[None], frozen=True):
    """From the engine's own timer: its dead worker is back."""


class ChaoticCore(Actor):
    """Answers each `Generate` in the end, one way or another."""

    mailbox = MailboxSpec(capacity=8192)

    def __init__(self, draw: random.Random, places: int, accounts: Accounts, book: Book) -> None:
        """`draw` decides all; `places` are those of a worker in good health."""
        self._draw = draw
        self._places = self._whole = places
        self._accounts = accounts
        self._book = book
        self._work: dict[int, asyncio.Task[None]] = {}
        self._dying: set[int] = set()

    async def started(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self.system.actor_of("scheduler").tell(Capacity(MODEL, self._places))

    @handler
    def tell_capacity(self, message: TellCapacity) -> None:
        """Tells it again."""
        self._tell()

    @handler
    def generate(self, request: Generate) -> None:
        """Runs a generation until it ends, its slice is over, or something happens to it."""
        reply: Reply[Outcome] = self.defer()
        before = self._book.generated.get(request.id, ())
        if request.generated != before:
            self._book.wrong.append(f"job {request.id} goes on from {request.generated}, not from {before}")
        if request.id in self._book.running:
            self._book.wrong.append(f"job {request.id} runs twice")
        if len(self._work) >= self._places:
            reply.send(Outcome("no_place", request.generated))
            return
        self._book.running.add(request.id)
        made = list(request.generated)
        self._work[request.id] = self.start_task(self._run(request, reply, made), name=f"job-{request.id}")
        reply.on_cancel(lambda: self._abort(request, made))

    async def _run(self, request: Generate, reply: Reply[Outcome], made: list[int]) -> None:
        wanted = 1 + (request.id * 37) % 50
        length = min(wanted, request.sampling.max_tokens)
        slice = request.slice or length
        for _ in range(min(slice, length - len(made))):
            await asyncio.sleep(STEP_S if self._draw.random() > 0.02 else 5.0)
            made.append(request.id * 1000 + len(made))
            if request.id in self._dying or self._draw.random() < 0.01:
                break
        else:
            self._end(request, reply, made, "stop" if len(made) >= length else "slice")
            return
        if request.id in self._dying:
            self._end(request, reply, made, "slice")
        elif self._draw.random() < 0.5:
            self._book.ended[request.id] += 1
            self._leave(request.id)
            reply.fail(GenerationFailed("out of memory, or another error of the engine"))
        else:
            self._die(request, reply, made)

    def _end(self, request: Generate, reply: Reply[Outcome], made: list[int], finish: str) -> None:
        tokens = tuple(made)
        self._book.generated[request.id] = tokens
        self._book.ended[request.id] += finish == "stop"
        self._leave(request.id)
        new = len(tokens) - len(request.generated)
        if request.slice and new > request.slice:
            self._book.wrong.append(f"job {request.id} made {new} tokens in a slice of {request.slice}")
        result = Result(text="x", prompt_tokens=PROMPT, tokens=tokens, tokens_in=len(PROMPT), tokens_out=new)
        reply.send(Outcome("stop" if finish == "stop" else "slice", tokens, result))

    def _die(self, request: Generate, reply: Reply[Outcome], made: list[int]) -> None:
        """A worker dies under a generation; there are fewer places until it is back."""
        self._book.generated[request.id] = tuple(made)
        self._leave(request.id)
        reply.send(Outcome("lost", tuple(made)))
        self._places = self._draw.randrange(self._whole)
        self._tell()
        self.timers.start("recover", self._draw.random(), Recover())

    @handler
    def recover(self, message: Recover) -> None:
        """All places are back."""
        self._places = self._whole
        self._tell()

    @handler
    def preempt(self, message: PreemptJob) -> None:
        """The generation makes room with its next token."""
        if message.id in self._work:
            self._dying.add(message.id)

    def _abort(self, request: Generate, made: list[int]) -> None:
        task = self._work.get(request.id)
        if task is not None:
            task.cancel()
            assert request.account is not None, "the scheduler names who is charged"
            self._accounts.charge(request.account, "tokens", len(made) - len(request.generated))
            self._book.ended[request.id] += 1
            self._leave(request.id)

    def _leave(self, job: int) -> None:
        self._work.pop(job, None)
        self._dying.discard(job)
        self._book.running.discard(job)

    @handler
    def agent_waits(self, message: AgentWaits) -> None:
        """Of no matter here."""

    @handler
    def forget_agent(self, message: ForgetAgent) -> None:
        """Of no matter here."""


class Shelf(Actor):
    """Stands in for the context actor, in memory and without a thread."""

    mailbox = MailboxSpec(capacity=8192)

    def __init__(self) -> None:
        self.kept: dict[str, Snapshot] = {}

    @handler
    def save(self, message: Save) -> None:
        """Keeps a generation until it is done."""
        if message.done:
            self.kept.pop(message.job, None)
        else:
            tokens = message.prompt + message.generated
            self.kept[message.job] = Snapshot(message.conversation, MODEL, tokens, len(message.generated))

    @handler
    def load(self, message: Load) -> Snapshot:
        """Hands one back."""
        if message.job not in self.kept:
            raise NotFound(message.job)
        return self.kept[message.job]

    @handler
    def forget(self, message: Forget) -> None:
        """Drops one."""
        self.kept.pop(message.job, None)

    @handler
    def forget_owner(self, message: ForgetOwner) -> None:
        """Of no matter here."""
