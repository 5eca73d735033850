"""Agents that follow a script of LLM calls and pauses, and note when each call was sent, began to answer and ended.

All times are readings of `time.perf_counter` in the node's process. A call's length is exact: no end-of-generation
token cuts it short. The calls of one lane are turns of one conversation; an agent's lanes run side by side.
"""

import random
import time

import anyio
import msgspec
from msgspec import Struct

from aios_actors import Agent
from aios_actors.engine.messages import ChatMessage, Sampling
from aios_actors.syscalls.llm import Chat

WORDS = ("the", "file", "has", "a", "number", "of", "notes", "and", "list", "is", "in", "report", "for", "every", "day")


class Turn(Struct, frozen=True):
    """One LLM call.

    Attributes:
        words: length of the question.
        out: tokens of the answer.
        pause_s: seconds before it, in which a tool would work.
    """

    words: int
    out: int
    pause_s: float = 0.0


class Script(Struct, frozen=True):
    """What an agent does: turns one after the other in each lane, after a delay; `seed` draws the words."""

    lanes: tuple[tuple[Turn, ...], ...]
    delay_s: float = 0.0
    seed: int = 0

    @property
    def out(self) -> int:
        """Tokens of all answers."""
        return sum(turn.out for lane in self.lanes for turn in lane)


class Call(Struct, frozen=True):
    """One LLM call as the agent saw it.

    Attributes:
        sent, first, done: when it was made, when its first text came, when it was answered.
        waited_s: seconds that it had no place on a worker, by its usage.
        tokens_in, tokens_cached, tokens_out: by its usage.
    """

    sent: float
    first: float
    done: float
    waited_s: float
    tokens_in: int
    tokens_cached: int
    tokens_out: int


def question(turn: Turn, *seed: object) -> str:
    """Words that depend on the seed alone."""
    return " ".join(random.Random(repr(seed)).choices(WORDS, k=turn.words))


class Follower(Agent):
    """You answer at length."""

    async def run(self, task: str) -> list[Call]:
        script = msgspec.json.decode(task, type=Script)
        calls: list[Call] = []
        await anyio.sleep(script.delay_s)
        async with anyio.create_task_group() as group:
            for number, lane in enumerate(script.lanes):
                group.start_soon(self._lane, script.seed, number, lane, calls)
        return sorted(calls, key=lambda call: call.sent)

    async def _lane(self, seed: int, number: int, lane: tuple[Turn, ...], calls: list[Call]) -> None:
        messages = [ChatMessage("system", self.system_prompt)]
        for index, turn in enumerate(lane):
            await anyio.sleep(turn.pause_s)
            messages.append(ChatMessage("user", question(turn, seed, number, index)))
            messages.append(ChatMessage("assistant", await self._call(messages, turn, f"lane-{number}", calls)))

    async def _call(self, messages: list[ChatMessage], turn: Turn, lane: str, calls: list[Call]) -> str:
        stamps: list[float] = []
        sent = time.perf_counter()
        chat = Chat(
            tuple(messages),
            model=self.setup.model,
            sampling=Sampling(max_tokens=turn.out, ignore_eos=True),
            conversation=lane,
            on_text=lambda text: stamps.append(time.perf_counter()),
        )
        reply = await self.setup.kernel.ask(chat)
        done, use = time.perf_counter(), reply.usage
        first = stamps[0] if stamps else done
        calls.append(Call(sent, first, done, use.waiting_s, use.tokens_in, use.tokens_cached, use.tokens_out))
        return str(reply.text)
