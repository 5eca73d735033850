"""Trains the nano model: learns the tokenizer, generates traces, trains, writes the GGUF, evaluates it.

    python3 scripts/train_nano_model.py --minutes 75 --out src/aios_actors/nano/nano.gguf

Needs the `train` extra (torch, tokenizers, gguf); the evaluation also needs llama-cpp-python. A run keeps its
tokenizer and checkpoint in `--work` and continues from there with `--resume`. `--quick` is a smoke run of under a
minute.
"""

import argparse
import itertools
import random
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aios_actors.nano.chat import trace
from aios_actors.nano.gguf_file import read_gguf
from aios_actors.nano.network_shape import Shape
from aios_actors.nano.tasks import training_tasks
from aios_actors.nano.tokenizer import assemble, train_tokenizer
from aios_actors.nano.training import Plan, Trainer


def log(text: str) -> None:
    """Prints one line with the time of day."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    defaults = Plan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("nano.gguf"), help="where the GGUF goes")
    parser.add_argument("--work", type=Path, default=Path("build/nano"), help="tokenizer and checkpoints")
    parser.add_argument("--tokens", type=int, default=defaults.tokens, help="training tokens at most")
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="training time at most")
    parser.add_argument("--decay", type=float, default=defaults.decay, help="last share of it with falling rates")
    parser.add_argument("--rate", type=float, default=1.0, help="what multiplies the learning rates")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--start", type=Path, help="train on from this GGUF's weights and tokenizer, as a new run")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --work")
    parser.add_argument("--evaluate", type=int, default=300, help="held-out tasks of each kind afterwards; 0 for none")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a tiny network, 20,000 tokens")
    return parser.parse_args()


def tokenizer_in(work: Path, seed: int, traces: int) -> Tokenizer:
    """The tokenizer kept in `work`, learned now if there is none."""
    path = work / "tokenizer.json"
    if not path.exists():
        rng = random.Random(seed)
        train_tokenizer(trace(task, rng) for task in itertools.islice(training_tasks(seed), traces)).save(str(path))
        log(f"learned the tokenizer from {traces} traces")
    return Tokenizer.from_file(str(path))


def main() -> None:
    """Runs the whole training."""
    arguments, defaults = parse(), Plan()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    weights: dict[str, NDArray[np.float32]] = {}
    if arguments.start:
        weights, tokens, merges = read_gguf(arguments.start)
        pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
        tokenizer = assemble({token: index for index, token in enumerate(tokens)}, pairs)
    else:
        tokenizer = tokenizer_in(arguments.work, arguments.seed, 2_000 if arguments.quick else 20_000)
    if arguments.quick:
        shape, plan = Shape(width=64, layers=2, heads=2, feed_forward=96), Plan(tokens=20_000, pool=200)
    else:
        shape = Shape()
        plan = Plan(
            seed=arguments.seed,
            tokens=arguments.tokens,
            minutes=arguments.minutes,
            matrix_rate=defaults.matrix_rate * arguments.rate,
            other_rate=defaults.other_rate * arguments.rate,
            decay=arguments.decay,
            # Many drills at the start teach copying, which a trained model knows.
            drill_tokens=0 if weights else defaults.drill_tokens,
        )
    trainer = Trainer(tokenizer, shape, plan)
    if weights:
        trainer.load(weights)
    checkpoint = arguments.work / "checkpoint.pt"
    if arguments.resume:
        trainer.resume(checkpoint)
    count = sum(parameter.numel() for parameter in trainer.network.parameters())
    log(f"{count / 1e6:.2f}M parameters, {plan}")
    trainer.export(arguments.out)

    def every(state: Trainer) -> None:
        state.save(checkpoint)
        state.export(arguments.out)
        log(f"wrote {checkpoint} and {arguments.out}")

    trainer.run(every, log)
    if arguments.evaluate:
        from aios_actors.nano.evaluate import report

        print(report(arguments.out, 6 if arguments.quick else arguments.evaluate), flush=True)


if __name__ == "__main__":
    main()
