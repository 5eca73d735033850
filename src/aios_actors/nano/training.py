"""Trains the nano model: optimisers, schedule, checkpoints, export.

The schedule is warm-up, constant, then linear to zero over the last part (WSD), against a budget of tokens or of
minutes, whichever ends first, so that a run can follow the clock and can be continued from a checkpoint. Needs torch.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from aios_actors.nano.batches import Batch, training_batches
from aios_actors.nano.gguf_file import write_gguf
from aios_actors.nano.muon import Muon
from aios_actors.nano.network import Network
from aios_actors.nano.network_shape import Shape
from aios_actors.nano.tokenizer import merges_of, tokens_of


class Plan(Struct, frozen=True):
    """How long and how fast to train.

    `decay` is the share of the budget over which the rates fall to zero, `pool` how many rows are made at a time.
    """

    seed: int = 1
    tokens: int = 20_000_000
    minutes: float = 60.0
    matrix_rate: float = 0.006
    other_rate: float = 0.0012
    warmup_steps: int = 40
    decay: float = 0.6
    drill_tokens: int = 800_000
    drill_share: float = 0.08
    pool: int = 1536
    checkpoint_minutes: float = 4.0


def rate_at(progress: float, decay: float) -> float:
    """The learning rate's factor when `progress` (0 to 1) of the budget is spent."""
    return min(1.0, max(0.0, (1.0 - progress) / decay)) if decay else 1.0


def drill_share_at(tokens: int, plan: Plan) -> float:
    """The share of copy drills after `tokens`: most at the start, then falling to a small constant."""
    if tokens >= plan.drill_tokens:
        return plan.drill_share
    return max(plan.drill_share, 0.4 * (1 - tokens / plan.drill_tokens))


# Predicting what the model never has to write costs as much as predicting what it writes, so only one such token in
# this many is predicted, with as many times its weight.
THINNING = 8
# The number of predicted tokens is rounded up to a multiple of this, so that matrix products have few shapes.
ROUNDING = 512


def loss_of(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """The weighted loss for one batch, and the plain mean over assistant tokens (for the log)."""
    tokens, weights = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
    share, targets = weights[:, 1:].flatten(), tokens[:, 1:].flatten()
    drawn = torch.rand(len(share)) < 1 / THINNING
    share = torch.where(share == 1.0, share, share * drawn * THINNING)
    count = min(len(share), -int(share.count_nonzero()) // ROUNDING * -ROUNDING)
    share, kept = share.topk(count)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network.logits(network.hidden(tokens[:, :-1]).flatten(0, 1)[kept])
    each = functional.cross_entropy(logits.float(), targets[kept], reduction="none")
    return (each * share).sum() / share.sum(), each.detach()[share == 1.0].mean()


class Trainer:
    """One training run. `save` and `resume` keep all that is needed to continue it."""

    def __init__(self, tokenizer: Tokenizer, shape: Shape, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.tokenizer, self.shape, self.plan = tokenizer, shape, plan
        self.network = Network(shape)
        matrices = [p for n, p in self.network.named_parameters() if p.ndim == 2 and not n.startswith("token_embd")]
        others = [p for n, p in self.network.named_parameters() if p.ndim == 1 or n.startswith("token_embd")]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, plan.matrix_rate),
            torch.optim.AdamW(others, plan.other_rate, betas=(0.9, 0.98), weight_decay=0.0, eps=1e-10),
        ]
        self.peaks = (plan.matrix_rate, plan.other_rate)
        self.steps = 0
        self.tokens = 0
        self.seconds = 0.0
        self.loss = float("nan")

    def progress(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        return max(self.tokens / self.plan.tokens, self.seconds / 60 / self.plan.minutes)

    def step(self, batch: Batch) -> None:
        """One optimisation step."""
        started = time.monotonic()
        factor = min(rate_at(self.progress(), self.plan.decay), (self.steps + 1) / self.plan.warmup_steps)
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
        loss, shown = loss_of(self.network, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        value = float(shown)
        self.loss = value if self.loss != self.loss else 0.98 * self.loss + 0.02 * value
        self.steps += 1
        self.tokens += int((batch[1] > 0).sum())
        self.seconds += time.monotonic() - started

    def run(self, every: Callable[["Trainer"], None], log: Callable[[str], None]) -> None:
        """Trains until the budget is spent, calling `every` at each checkpoint."""
        # A resumed run must not see again what it has seen, so the stream's seed depends on where it begins.
        seed = self.plan.seed + 1_000 * self.tokens
        plan = self.plan
        batches = training_batches(self.tokenizer, seed, lambda: drill_share_at(self.tokens, plan), plan.pool)
        saved = logged = time.monotonic()
        for batch in batches:
            self.step(batch)
            now = time.monotonic()
            if self.steps % 25 == 0:
                log(
                    f"step {self.steps}  tokens {self.tokens / 1e6:.2f}M  loss {self.loss:.4f}  "
                    f"spent {self.progress():.1%}  {self.tokens / self.seconds:.0f} tokens/s  {now - logged:.0f} s"
                )
                logged = now
            if self.progress() >= 1:
                break
            if now - saved > self.plan.checkpoint_minutes * 60:
                every(self)
                saved = now
        every(self)

    def save(self, path: Path) -> None:
        """Writes a checkpoint."""
        state = {
            "network": self.network.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "loss": self.loss,
        }
        partial = path.with_name(path.name + ".part")
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Continues from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.steps, self.tokens, self.seconds = state["steps"], state["tokens"], state["seconds"]
        self.loss = state["loss"]

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Begins with these weights, such as `read_gguf` returned, instead of random ones."""
        own = self.network.state_dict()
        self.network.load_state_dict({name: torch.from_numpy(weights[name].copy()).view_as(own[name]) for name in own})

    def export(self, path: Path) -> None:
        """Writes the model as it is now to a GGUF file."""
        weights = {name: tensor.float().numpy() for name, tensor in self.network.state_dict().items()}
        weights["rope_freqs.weight"] = np.array(self.shape.rope_divisors(), np.float32)
        said = f"Agent traces; {self.tokens / 1e6:.1f}M tokens; seed {self.plan.seed}; loss {self.loss:.4f}."
        write_gguf(path, self.shape, weights, tokens_of(self.tokenizer), merges_of(self.tokenizer), said)
