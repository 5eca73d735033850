"""One task of one agent under a journal: what it asked for before is answered from there, the rest goes to the kernel.

Contract: the agent's code runs from its start, and each of its syscalls is compared with the journal. The answers of
those that were answered come in the order in which they came then, relative to all that was asked, so code whose steps
depend on nothing but answers takes the same steps. From the end of the journal on, each answer is on disk before the
agent sees it. Code that asks for something else than the journal holds gets ReplayDiverged, from then on and for good.

Source: deterministic replay of a history of events, as in Temporal's workflows and DBOS.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from msgspec.structs import replace

from aios_actors.actors import ActorRef, Refusal
from aios_actors.kernel.journal.store import Entry
from aios_actors.kernel.journal.values import pack, unpack
from aios_actors.syscalls.agent import AskAgent, SpawnAgent
from aios_actors.syscalls.base import Syscall
from aios_actors.syscalls.errors import NodeStopping, ReplayDiverged, SyscallError
from aios_actors.syscalls.llm import Chat

QUIET_S = 60.0
"""If a replayed answer waits this long for the agent to ask what it asked before it then, the code differs."""


class Recorder(Protocol):
    """Where events go."""

    def note(self, entry: Entry) -> None:
        """Keeps an event, at the latest with the next one that is recorded."""

    async def record(self, entry: Entry) -> None:
        """Keeps an event; it is on disk when this returns."""

    async def sync(self) -> None:
        """What the kernel has saved of generations is on disk when this returns."""


class Session:
    """A task's journal, while an agent works on it. `key` is the task's."""

    def __init__(self, key: str, recorder: Recorder, entries: Iterable[Entry]) -> None:
        self.key = key
        self._recorder = recorder
        self._script = deque(entries)
        self._asks = {entry.number: entry for entry in self._script if entry.kind == "ask"}
        self._answers = {entry.number: entry.value for entry in self._script if entry.kind == "answer"}
        self._asked = 0
        self._turns: dict[int, asyncio.Event] = {}
        self._due = 0  # number of the syscall whose answer's turn has come, and which the code has not seen yet
        self._seen = set[int]()  # replayed calls that are over
        self._caught_up = asyncio.Event()
        self._diverged: ReplayDiverged | None = None
        self._advance()

    def under_way(self, number: int) -> bool:
        """Whether syscall `number` was asked for before, but not answered."""
        return number in self._asks and number not in self._answers

    def end(self) -> None:
        """The task has its answer. Raises ReplayDiverged if its agent did not do all that the journal holds."""
        if self._diverged is None and self._script:
            self._diverge(self._script[0].number, "the task ended")
        if self._diverged is not None:
            raise self._diverged

    async def ask(self, kernel: ActorRef, call: Syscall[Any]) -> Any:
        """The answer to a syscall. Raises its errors, and ReplayDiverged."""
        if self._diverged is not None:
            raise self._diverged
        number = self._asked = self._asked + 1
        bare = replace(call, on_text=None) if isinstance(call, Chat) else call
        digest = hashlib.blake2b(pack(bare), digest_size=16).digest()
        label = f"{call.verb} {call.resource()}".strip()
        known = self._asks.get(number)
        if known is None:
            self._recorder.note(Entry(self.key, "ask", number, digest, label))
        elif known.value != digest:
            raise self._diverge(number, f"the code asks for {label!r}")
        if number in self._answers:
            return await self._replay(kernel, call, number)
        self._advance()
        return await self._live(kernel, call, number)

    async def _replay(self, kernel: ActorRef, call: Syscall[Any], number: int) -> Any:
        """The answer that the journal holds, when it is its turn."""
        answer = unpack(self._answers[number])
        if isinstance(call, SpawnAgent) and isinstance(answer, str):  # of this, the answer is not all that there was
            await kernel.ask(replace(call, name=answer))
        turn = self._turns[number] = asyncio.Event()
        self._advance()
        try:
            await self._wait(turn)
        finally:  # a caller that was cancelled meanwhile holds nobody up
            self._due = 0 if self._due == number else self._due
            self._seen.add(number)
            self._advance()
        if isinstance(answer, Refusal):
            raise answer
        if isinstance(call, Chat) and call.on_text is not None:
            call.on_text(answer.text)
        return answer

    async def _live(self, kernel: ActorRef, call: Syscall[Any], number: int) -> Any:
        """The kernel's answer, once it is on disk."""
        numbered = replace(call, number=number) if isinstance(call, Chat | AskAgent) else call
        answer: Any
        try:
            answer = await kernel.ask(numbered)
        except (NodeStopping, ReplayDiverged):
            raise
        except SyscallError as error:
            answer = error
        if isinstance(call, Chat):
            await self._recorder.sync()
        if not self._caught_up.is_set():
            await self._wait(self._caught_up)
        await self._recorder.record(Entry(self.key, "answer", number, pack(answer)))
        if isinstance(answer, SyscallError):
            raise answer
        return answer

    async def _wait(self, turn: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(QUIET_S):
                await turn.wait()
        except TimeoutError:
            number = self._script[0].number if self._script else self._asked
            self._diverge(number, f"the code did not ask for it within {QUIET_S:g} s")
        if self._diverged is not None:
            raise self._diverged

    def _advance(self) -> None:
        """Lets happen what comes next in the journal, as far as the code has come."""
        while self._script:
            entry = self._script[0]
            if entry.kind == "ask" and entry.number > self._asked:
                return
            if entry.kind == "answer" and entry.number not in self._seen:
                if self._due or entry.number not in self._turns:
                    return
                self._turns.pop(entry.number).set()
                self._due = entry.number
            self._script.popleft()
        if not self._due:
            self._caught_up.set()

    def _diverge(self, number: int, instead: str) -> ReplayDiverged:
        """From now on every call fails, those that wait included. Returns the error."""
        known = self._asks.get(number)
        held = known.label if known is not None else "nothing more"
        error = self._diverged = ReplayDiverged(
            f"task {self.key}, syscall {number}: the journal holds {held!r}, but {instead}; go on with the code "
            "and the config that the run began with, or begin a new run"
        )
        for turn in (*self._turns.values(), self._caught_up):
            turn.set()
        return error
