"""What choosing a token for each of 32 sequences costs at a vocabulary of 128k, by kind of sampling.

The logits are random with a clear favourite, as a model's are. With `--model` the cost is told as a share of that
model's own decode step for as many sequences (write one with `scripts.bench.make_model`); wanted is at most 3 %.

    python -m scripts.bench.sampling [--quick] [--json] [--model 135m.gguf]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog

from aios_actors.engine.batch import Batch
from aios_actors.engine.messages import Sampling
from aios_actors.engine.model import load
from aios_actors.engine.sampling import Row, sample
from aios_actors.engine.spec import WorkerSpec
from scripts.bench.report import Row as Figure
from scripts.bench.report import add_arguments, report

SEQUENCES, VOCABULARY, HISTORY = 32, 128_256, 600
WANTED = 0.03
KINDS = {
    "greedy": Sampling(),
    "temperature": Sampling(temperature=0.8),
    "top-k, top-p, min-p": Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
    "top-p": Sampling(temperature=0.8, top_p=0.95),
    "min-p": Sampling(temperature=0.8, min_p=0.05),
    "penalties": Sampling(repeat_penalty=1.1, frequency_penalty=0.1),
    "5 logprobs": Sampling(logprobs=5),
}


def median(seconds: Callable[[], float], repeat: int) -> float:
    """The median of some runs."""
    return float(np.median([seconds() for _ in range(repeat)]))


def sampling_seconds(sampling: Sampling) -> float:
    """One call for all sequences."""
    random = np.random.default_rng(0)
    logits = (random.normal(size=(SEQUENCES, VOCABULARY)) * 2.5).astype(np.float32)
    logits[np.arange(SEQUENCES), random.integers(0, VOCABULARY, SEQUENCES)] += 20.0
    rows = [Row(sampling, range(HISTORY), i) for i in range(SEQUENCES)]
    began = time.perf_counter()
    sample(logits, rows)
    return time.perf_counter() - began


def step_seconds(path: Path, gpu_layers: int, repeat: int) -> float:
    """A decode call of one token for each sequence, the reading of its logits included."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    model = load(WorkerSpec(str(path), context=256, sequences=SEQUENCES, gpu_layers=gpu_layers))
    batch = Batch(model.batch)

    def step(position: int) -> float:
        batch.clear()
        for sequence in range(SEQUENCES):
            batch.add(sequence, [100 + sequence], position, outputs=1)
        began = time.perf_counter()
        model.decode(batch.raw)
        model.logits(batch.outputs).max()
        return time.perf_counter() - began

    seconds = float(np.median([step(position) for position in range(repeat)]))
    model.close()
    return seconds


def main() -> None:
    """Parse the command line, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--model", type=Path, help="a GGUF whose decode step is the measure")
    parser.add_argument("--gpu-layers", type=int, default=0, help="of that model; -1: all")
    options = parser.parse_args()
    repeat = 10 if options.quick else 50
    step = step_seconds(options.model, options.gpu_layers, repeat) if options.model else None
    rows = []
    for name, sampling in KINDS.items():
        seconds = median(lambda sampling=sampling: sampling_seconds(sampling), repeat)  # type: ignore[misc]
        rows.append(Figure(f"{name}, {SEQUENCES} x {VOCABULARY:,}", 1e3 * seconds, "ms"))
        if step is not None:
            share = seconds / step
            against = f"a step of {options.model.name}: {1e3 * step:.1f} ms"
            rows.append(Figure(f"{name}, share", share, "ratio", against, WANTED, share <= WANTED))
    report("sampling", rows, options)


if __name__ == "__main__":
    main()
