"""What the agents of a fleet do: several turns each, with a tool's answer between two of them.

All agents start together from one shared prefix (system prompt and tools). In a turn an agent appends new tokens, asks
for a completion, appends that, and waits for a tool. Token ids are drawn at random, the same for every endpoint: with
random weights words would add nothing. Which tokens must be computed at least follows from the load alone.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from msgspec import Struct

from scripts.bench.fleet.endpoint import Answer, Endpoint, EndpointError, Request

TOOL_CALL: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "tool": {"enum": ["calculator", "storage.read", "memory.search"]},
        "arguments": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "pattern": "^[a-z]{4,12}$"},
                "limit": {"enum": [1, 2, 5, 10, 20, 50]},
                "exact": {"type": "boolean"},
            },
            "required": ["query", "limit", "exact"],
            "additionalProperties": False,
        },
    },
    "required": ["tool", "arguments"],
    "additionalProperties": False,
}
SCHEMA_TOKENS = 96
"""Enough for any answer of `TOOL_CALL`, one character a token."""


class Fleet(Struct, frozen=True):
    """A load.

    Attributes:
        name: one letter.
        agents: how many, all at once.
        shared: tokens of the prefix that all have in common.
        turns: completions of each agent.
        places: agents whose KV the cache of every endpoint has room for; 0 for all.
        new: tokens that an agent adds in each turn.
        out: tokens of each answer.
        wait_s: shortest and longest time that a tool takes, in seconds.
        schema: form of the answers; None for free text.
    """

    name: str
    agents: int
    shared: int
    turns: int
    places: int = 0
    new: int = 48
    out: int = 32
    wait_s: tuple[float, float] = (0.05, 0.5)
    schema: Mapping[str, Any] | None = None

    @property
    def context(self) -> int:
        """Tokens that the longest conversation holds, with some room, in whole blocks of 256."""
        longest = self.shared + self.turns * (self.new + (SCHEMA_TOKENS if self.schema else self.out))
        return (longest // 256 + 1) * 256

    @property
    def needed(self) -> int:
        """Prompt tokens that must be computed if nothing is computed twice."""
        # The last token of an answer was sampled and never computed: it belongs to the next prefill.
        return self.shared + self.agents * (self.turns * self.new + self.turns - 1)


@dataclass
class Call:
    """One completion as its agent saw it.

    Attributes:
        sent: when it was asked for.
        prompt: tokens of its prompt.
        answer: what came back; None if `error` says why nothing did.
    """

    sent: float
    prompt: int
    answer: Answer | None = None
    error: str = ""
    done: float = 0.0


@dataclass
class FleetRun:
    """All calls of a fleet on one endpoint; times in seconds, `resident` the largest seen, in bytes."""

    fleet: Fleet
    calls: list[Call] = field(default_factory=list)
    wall_s: float = 0.0
    resident: int = 0


class Vocabulary:
    """Draws token ids that end no generation."""

    def __init__(self, size: int, eog: tuple[int, ...]) -> None:
        self._ids = sorted(set(range(size // 8, size - size // 8)) - set(eog))

    def draw(self, count: int, *seed: object) -> tuple[int, ...]:
        """`count` ids that depend on `seed` alone."""
        return tuple(random.Random(repr(seed)).choices(self._ids, k=count))

    def nth(self, number: int) -> int:
        """The id of a number: another one for each, as long as there are some."""
        return self._ids[number % len(self._ids)]


async def run_fleet(endpoint: Endpoint, fleet: Fleet, vocabulary: Vocabulary) -> FleetRun:
    """Lets the fleet do all its turns on `endpoint`. A failed completion ends its agent, and is in the result."""
    run = FleetRun(fleet)
    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(fleet.agents):
            group.start_soon(_agent, endpoint, run, vocabulary, number)
    run.wall_s = time.perf_counter() - began
    return run


async def _agent(endpoint: Endpoint, run: FleetRun, vocabulary: Vocabulary, number: int) -> None:
    fleet = run.fleet
    tokens = vocabulary.draw(fleet.shared, fleet.name, "shared")
    waits = random.Random(f"{fleet.name} {number}")
    most = SCHEMA_TOKENS if fleet.schema else fleet.out
    for turn in range(fleet.turns):
        tokens += vocabulary.draw(fleet.new, fleet.name, number, turn)
        call = Call(time.perf_counter(), len(tokens))
        run.calls.append(call)
        try:
            answer = await endpoint.complete(Request(f"{fleet.name}-{number}", tokens, most, fleet.schema))
        except EndpointError as error:
            call.error = str(error)
            return
        call.answer, call.done = answer, time.perf_counter()
        run.resident = max(run.resident, endpoint.resident())
        tokens += answer.tokens
        if turn + 1 < fleet.turns:
            await anyio.sleep(waits.uniform(*fleet.wait_s))
