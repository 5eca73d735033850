"""What our attention kernel makes of steps, beside llama.cpp's own attention with what is best for it on a CPU.

Contexts of both are in one process and take turns, step by step. llama.cpp's has split streams, no flash attention and
the KV types that it reads fastest, as a worker has where there is no C compiler.

    python -m scripts.bench.attention [--quick] [--json] [--markdown] [--model 135m.gguf]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from typing import NamedTuple

import structlog

from aios_actors.engine.batch import Batch
from aios_actors.engine.environment import worker_environment
from aios_actors.engine.model import Model, load
from aios_actors.engine.spec import WorkerSpec
from scripts.bench.choice import add_engine_arguments, chosen_model
from scripts.bench.report import Row, add_arguments, report

SIDES = {"ours": {}, "llama.cpp's": {"flash_attention": "off"}}
CHUNK = 512


class Shape(NamedTuple):
    """Agents that decode, each after tokens that all share and some of its own."""

    agents: int
    shared: int
    own: int

    def __str__(self) -> str:
        which = f"{self.shared + self.own:,} tokens" + (f", {self.shared:,} of them shared" if self.shared else "")
        return f"{self.agents} at {which}"


SHAPES = Shape(1, 0, 100), Shape(1, 0, 2000), Shape(8, 0, 1500), Shape(16, 1500, 140), Shape(24, 512, 140)
PROMPT = 4000


class Bench:
    """One context of a side, filled as a shape says."""

    def __init__(self, spec: WorkerSpec, shape: Shape) -> None:
        self.model: Model = load(spec)
        self._batch = Batch(self.model.batch)
        self._agents, self._length = shape.agents, shape.shared + shape.own
        self.prefill(0, shape.shared)
        for agent in range(1, shape.agents):
            self.model.copy(0, agent, shape.shared)
        for agent in range(shape.agents):
            self.prefill(agent, shape.own, shape.shared)

    def prefill(self, agent: int, count: int, position: int = 0) -> float:
        """Seconds that so many tokens of an agent take."""
        began = time.perf_counter()
        for start in range(0, count, CHUNK):
            self._batch.clear()
            tokens = [300 + (7 * (position + i) + agent) % 500 for i in range(start, min(start + CHUNK, count))]
            self._batch.add(agent, tokens, position + start, outputs=1)
            self.model.decode(self._batch.raw)
        return time.perf_counter() - began

    def step(self) -> float:
        """Seconds that a token for each agent takes."""
        self._batch.clear()
        for agent in range(self._agents):
            self._batch.add(agent, [300 + agent], self._length, outputs=1)
        began = time.perf_counter()
        self.model.decode(self._batch.raw)
        self.model.logits(1)
        self._length += 1
        return time.perf_counter() - began


def decode_rows(spec: dict[str, WorkerSpec], shape: Shape, steps: int) -> list[Row]:
    """The medians of steps of both sides, in turns."""
    sides = {name: Bench(each, shape) for name, each in spec.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(steps):
        for name, side in sides.items():
            seconds[name].append(side.step())
    return _rows(f"a step of {shape}", sides, {name: 1e3 * statistics.median(s) for name, s in seconds.items()})


def prefill_rows(spec: dict[str, WorkerSpec], tokens: int) -> list[Row]:
    """A whole prompt on each side, by token."""
    sides = {name: Bench(each, Shape(1, 0, 1)) for name, each in spec.items()}
    each = {name: 1e3 * side.prefill(0, tokens, 1) / tokens for name, side in sides.items()}
    return _rows(f"a token of a prompt of {tokens:,}", sides, each)


def _rows(what: str, sides: dict[str, Bench], figures: dict[str, float]) -> list[Row]:
    """The figures, in ms, and their ratio; the contexts go."""
    for side in sides.values():
        side.model.close()
    ours, theirs = figures.values()
    rows = [Row(f"{what}, {name}", figure, "ms") for name, figure in figures.items()]
    return [*rows, Row(what, ours / theirs, "ratio", "llama.cpp's")]


def main() -> None:
    """Parse the command line, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_engine_arguments(parser)
    add_arguments(parser)
    options = parser.parse_args()
    if added := worker_environment(os.environ):  # what libraries read when a process begins, a worker has
        os.execve(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]], os.environ | added)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    shapes = [Shape(4, 128, 16)] if options.quick else SHAPES
    rows = []
    for shape in shapes:
        context = shape.shared + shape.own + 100
        rows += decode_rows(_specs(options, context, shape.agents), shape, 5 if options.quick else 40)
    prompt = 512 if options.quick else PROMPT
    rows += prefill_rows(_specs(options, prompt + 1, 1), prompt)
    report("attention", rows, options)


def _specs(options: argparse.Namespace, context: int, agents: int) -> dict[str, WorkerSpec]:
    model = str(chosen_model(options))
    common = {"context": context, "sequences": agents, "threads": options.threads, "batch": CHUNK}
    return {name: WorkerSpec(model, name, **common, **each) for name, each in SIDES.items()}  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
