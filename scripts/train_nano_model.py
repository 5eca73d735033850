"""Trains the nano model: learns the tokenizer, generates traces, trains, writes the GGUF, evaluates it.

    python3 scripts/train_nano_model.py --minutes 75 --out src/aios_actors/nano/nano.gguf

Needs the `train` extra (torch, tokenizers, gguf); the evaluation also needs llama-cpp-python. A run keeps its
tokenizer and checkpoint in `--work` and continues from there with `--resume`. Where torch sees a GPU it is used, with
larger batches that processes of their own make. `--quick` is a smoke run of under a minute.
"""

import argparse
import itertools
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aios_actors.nano.batches import BATCH_TOKENS
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
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--generators", type=int, help="processes that make batches; 0 on a CPU, half the cores else")
    parser.add_argument("--width", type=int, default=Shape().width, help="of the network, a multiple of 32")
    parser.add_argument("--layers", type=int, default=Shape().layers)
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


def plan_of(arguments: argparse.Namespace, trained: bool) -> Plan:
    """The plan that the command line asks for. A GPU takes large batches, and predicts every token at no cost."""
    defaults = Plan()
    plan = Plan(
        seed=arguments.seed,
        tokens=arguments.tokens,
        minutes=arguments.minutes,
        matrix_rate=defaults.matrix_rate * arguments.rate,
        other_rate=defaults.other_rate * arguments.rate,
        decay=arguments.decay,
        # Many drills at the start teach copying, which a trained model knows.
        drill_tokens=0 if trained else defaults.drill_tokens,
        generators=arguments.generators or 0,
    )
    if arguments.device == "cpu":
        return plan
    return replace(
        plan,
        batch_tokens=8 * BATCH_TOKENS,
        pool=2 * defaults.pool,
        thinning=1,
        warmup_steps=200,
        drill_tokens=8 * plan.drill_tokens,
        generators=(os.cpu_count() or 2) // 2 if arguments.generators is None else arguments.generators,
    )


def shape_of(arguments: argparse.Namespace, weights: Mapping[str, NDArray[np.float32]]) -> Shape:
    """The network's sizes: those of `weights`, or else as asked for, with heads 32 wide."""
    width, layers = arguments.width, arguments.layers
    if weights:
        width = weights["token_embd.weight"].shape[1]
        layers = len({name for name in weights if name.endswith(".attn_q.weight")})
    return Shape(width=width, layers=layers, heads=width // 32, feed_forward=round(width * 8 / 3 / 32) * 32)


def main() -> None:
    """Runs the whole training."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    weights: dict[str, NDArray[np.float32]] = {}
    if arguments.start:
        weights, tokens, merges = read_gguf(arguments.start)
        pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
        tokenizer = assemble({token: index for index, token in enumerate(tokens)}, pairs)
    else:
        tokenizer = tokenizer_in(arguments.work, arguments.seed, 2_000 if arguments.quick else 20_000)
    shape, plan = shape_of(arguments, weights), plan_of(arguments, bool(weights))
    if arguments.quick:
        shape = Shape(width=64, layers=2, heads=2, feed_forward=96)
        plan = replace(plan, tokens=20_000, pool=200)
    trainer = Trainer(tokenizer, shape, plan, arguments.device)
    if weights:
        trainer.load(weights)
    checkpoint = arguments.work / "checkpoint.pt"
    if arguments.resume:
        trainer.resume(checkpoint)
    count = sum(parameter.numel() for parameter in trainer.network.parameters())
    log(f"{count / 1e6:.2f}M parameters, {plan}, on {arguments.device}")
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
