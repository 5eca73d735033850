"""Traces: what programs came when, which LLM calls each made, one after the other, and how long those were.

A trace is a tuple of programs. As a file it has one JSON object a line, a program each. The generators are functions of
their seed alone.
"""

import random
from collections.abc import Iterable
from pathlib import Path

import msgspec


class CallTrace(msgspec.Struct, frozen=True):
    """One LLM call.

    Attributes:
        prompt: tokens of the prompt.
        output: tokens of the answer; at least 1.
        cached: tokens of the prompt whose KV is at hand.
        think_s: seconds from the answer of the call before (from the program's arrival, for the first) to this call.
    """

    prompt: int
    output: int
    cached: int = 0
    think_s: float = 0.0


class ProgramTrace(msgspec.Struct, frozen=True):
    """A task with its calls.

    Attributes:
        arrives: seconds from the trace's begin.
        calls: one after the other.
        agent: who makes them.
        group: with whom it shares `weight`; "" is the agent alone.
        weight, priority: as in the config.
        deadline_s: seconds in which each call should be answered; None for no hurry.
    """

    arrives: float
    calls: tuple[CallTrace, ...]
    agent: str
    group: str = ""
    weight: float = 1.0
    priority: int = 0
    deadline_s: float | None = None

    @property
    def share(self) -> str:
        """The group, which is the agent if none was given."""
        return self.group or self.agent


Trace = tuple[ProgramTrace, ...]


def read_trace(path: str | Path) -> Trace:
    """Reads a trace from a file. Raises msgspec.ValidationError if a line is none."""
    return tuple(msgspec.json.Decoder(ProgramTrace).decode_lines(Path(path).read_bytes()))


def write_trace(path: str | Path, trace: Iterable[ProgramTrace]) -> None:
    """Writes a trace to a file."""
    Path(path).write_bytes(msgspec.json.Encoder().encode_lines(list(trace)))


def heavy_tailed(seed: int, programs: int = 800, every_s: float = 0.21) -> Trace:
    """Agents whose tasks are mostly short, and sometimes thousands of tokens in dozens of calls.

    The tokens of a task have a Pareto distribution with tail index 0.9, cut at 20,000: the longest hundredth of the
    tasks makes half of the work. With the defaults, an engine with 8 places and default costs is busy but keeps up.

    Args:
        seed: decides all.
        programs: how many tasks.
        every_s: mean seconds between two arrivals (a Poisson process).
    """
    draw = random.Random(seed)
    now, trace = 0.0, list[ProgramTrace]()
    for number in range(programs):
        now += draw.expovariate(1.0 / every_s)
        left = min(int(15 * draw.paretovariate(0.9)), 20_000)
        calls, history = list[CallTrace](), draw.randrange(30, 90)
        while left:
            output = min(left, draw.randrange(125, 375))
            cached, think_s = (history - 20, draw.expovariate(2.0)) if calls else (0, 0.0)
            calls.append(CallTrace(history, output, cached, think_s))
            left -= output
            history = min(history + output + 30, 4000)
        trace.append(ProgramTrace(now, tuple(calls), f"agent-{number}"))
    return tuple(trace)


def interactive_and_batch(seed: int, seconds: float = 300.0, batch: int = 40) -> Trace:
    """One user who asks short questions now and then, while `batch` agents work on long texts all the time.

    The user's agent is "user", of priority 10; the others form the group "batch".
    """
    draw = random.Random(seed)
    user, now = list[ProgramTrace](), 0.0
    while (now := now + draw.expovariate(0.5)) < seconds:
        user.append(ProgramTrace(now, (CallTrace(60, draw.randrange(10, 40)),), "user", priority=10))
    background = [
        ProgramTrace(
            draw.random(), tuple(CallTrace(400, draw.randrange(200, 600)) for _ in range(6)), f"batch-{n}", "batch"
        )
        for n in range(batch)
    ]
    return tuple(sorted((*user, *background), key=lambda program: program.arrives))


def flood(seed: int, others: int = 15, calls: int = 40, factor: int = 20) -> Trace:
    """One agent with `factor` times as many calls as each of `others`; all calls are there from the beginning."""
    draw = random.Random(seed)
    names = ["flood"] * factor + [f"modest-{n}" for n in range(others)]
    programs = [
        ProgramTrace(0.0, (CallTrace(draw.randrange(20, 200), draw.randrange(10, 200)),), name)
        for name in names
        for _ in range(calls)
    ]
    draw.shuffle(programs)
    return tuple(programs)
