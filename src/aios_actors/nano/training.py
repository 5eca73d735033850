"""Trains the nano model: optimisers, schedule, checkpoints, export.

The schedule is warm-up, constant, then linear to zero over the last part (WSD), against a budget of tokens or of
minutes, whichever ends first, so that a run can follow the clock and can be continued from a checkpoint. On a GPU
processes of their own make the batches, larger ones. Needs torch.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aios_actors.nano.batches import BATCH_TOKENS, Batch, training_batches
from aios_actors.nano.gguf_file import write_gguf
from aios_actors.nano.muon import Muon
from aios_actors.nano.network import Network
from aios_actors.nano.network_shape import Shape
from aios_actors.nano.tokenizer import merges_of, tokens_of


class Plan(Struct, frozen=True):
    """How long and how fast to train.

    `decay` is the share of the budget over which the rates fall to zero, `pool` how many rows are made at a time by
    each of `generators` processes (0: by the training process itself), `batch_tokens` a multiple of `BATCH_TOKENS`.

    Predicting what the model never has to write costs a CPU as much as predicting what it writes, so only one such
    token in `thinning` is predicted, with as many times its weight.
    """

    seed: int = 1
    tokens: int = 20_000_000
    minutes: float = 60.0
    matrix_rate: float = 0.006
    other_rate: float = 0.0012
    warmup_steps: int = 40
    decay: float = 0.6
    drill_tokens: int = 800_000
    drill_share: float = 0.1
    pool: int = 1536
    batch_tokens: int = BATCH_TOKENS
    generators: int = 0
    thinning: int = 8
    checkpoint_minutes: float = 4.0


def rate_at(progress: float, decay: float) -> float:
    """The learning rate's factor when `progress` (0 to 1) of the budget is spent."""
    return min(1.0, max(0.0, (1.0 - progress) / decay)) if decay else 1.0


def drill_share_at(tokens: int, plan: Plan) -> float:
    """The share of copy drills after `tokens`: most at the start, then falling to a small constant."""
    if tokens >= plan.drill_tokens:
        return plan.drill_share
    return max(plan.drill_share, 0.4 * (1 - tokens / plan.drill_tokens))


# The number of predicted tokens is rounded up to a multiple of this, so that matrix products have few shapes.
ROUNDING = 512
# Seconds between two lines of the log.
LOG_SECONDS = 15


def loss_of(network: Network, tokens: Tensor, weights: Tensor, thinning: int) -> tuple[Tensor, Tensor]:
    """The weighted loss for one batch, and the plain mean over assistant tokens (for the log)."""
    share, targets = weights[:, 1:].flatten(), tokens[:, 1:].flatten()
    with torch.autocast(tokens.device.type, dtype=torch.bfloat16):
        hidden = network.hidden(tokens[:, :-1]).flatten(0, 1)
        if thinning > 1:
            drawn = torch.rand(len(share), device=share.device) < 1 / thinning
            share = torch.where(share == 1.0, share, share * drawn * thinning)
            count = min(len(share), -int(share.count_nonzero()) // ROUNDING * -ROUNDING)
            share, kept = share.topk(count)
            hidden, targets = hidden[kept], targets[kept]
        logits = network.logits(hidden)
    each = functional.cross_entropy(logits.float(), targets, reduction="none")
    said = share == 1.0
    return (each * share).sum() / share.sum(), (each.detach() * said).sum() / said.sum()


class BatchStream(IterableDataset[Batch]):  # type: ignore[misc]
    """The training batches as a data set; each process that makes batches has a stream of its own."""

    def __init__(self, tokenizer: Tokenizer, plan: Plan, trained: int) -> None:
        self.tokenizer, self.plan, self.trained = tokenizer, plan, trained

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        streams, index = (worker.num_workers, worker.id) if worker else (1, 0)
        yield from training_batches(
            self.tokenizer,
            # A resumed run must not see again what it has seen, so the stream's seed depends on where it begins.
            f"{self.plan.seed} from {self.trained}, stream {index}",
            lambda made: drill_share_at(self.trained + made * streams, self.plan),
            self.plan.pool,
            self.plan.batch_tokens,
        )


class Trainer:
    """One training run. `save` and `resume` keep all that is needed to continue it."""

    def __init__(self, tokenizer: Tokenizer, shape: Shape, plan: Plan, device: str = "cpu") -> None:
        torch.manual_seed(plan.seed)
        self.tokenizer, self.shape, self.plan, self.device = tokenizer, shape, plan, device
        self.network = Network(shape).to(device)
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
        # Stays on the device: reading it makes the training wait for the device.
        self.loss = torch.tensor(float("nan"), device=device)

    def progress(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        return max(self.tokens / self.plan.tokens, self.seconds / 60 / self.plan.minutes)

    def step(self, tokens: Tensor, weights: Tensor) -> None:
        """One optimisation step on a batch."""
        factor = min(rate_at(self.progress(), self.plan.decay), (self.steps + 1) / self.plan.warmup_steps)
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
        self.tokens += int(weights.count_nonzero())
        tokens, weights = (part.to(self.device, non_blocking=True) for part in (tokens, weights))
        loss, shown = loss_of(self.network, tokens, weights, self.plan.thinning)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.loss = self.loss.lerp(shown, 0.02) if self.steps else shown
        self.steps += 1

    def run(self, every: Callable[["Trainer"], None], log: Callable[[str], None]) -> None:
        """Trains until the budget is spent, calling `every` at each checkpoint."""
        plan = self.plan
        batches = DataLoader(
            BatchStream(self.tokenizer, plan, self.tokens),
            batch_size=None,
            num_workers=plan.generators,
            pin_memory=self.device != "cpu",
        )
        began, steps, spent = time.monotonic(), self.steps, self.seconds
        saved = logged = began
        for tokens, weights in batches:
            self.step(tokens, weights)
            now = time.monotonic()
            self.seconds = spent + now - began
            if now - logged > LOG_SECONDS:
                log(
                    f"step {self.steps}  tokens {self.tokens / 1e6:.2f}M  loss {float(self.loss):.4f}  "
                    f"spent {self.progress():.1%}  {self.tokens / self.seconds:.0f} tokens/s  "
                    f"{1000 * (now - began) / (self.steps - steps):.1f} ms a step"
                )
                logged = now
            if self.progress() >= 1:
                break
            if now - saved > plan.checkpoint_minutes * 60:
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
            "loss": float(self.loss),
        }
        partial = path.with_name(path.name + ".part")
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Continues from a checkpoint."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.network.load_state_dict(state["network"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.steps, self.tokens, self.seconds = state["steps"], state["tokens"], state["seconds"]
        self.loss = torch.tensor(state["loss"], device=self.device)

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Begins with these weights, such as `read_gguf` returned, instead of random ones."""
        own = self.network.state_dict()
        self.network.load_state_dict({name: torch.from_numpy(weights[name].copy()).view_as(own[name]) for name in own})

    def export(self, path: Path) -> None:
        """Writes the model as it is now to a GGUF file."""
        weights = {name: tensor.float().cpu().numpy() for name, tensor in self.network.state_dict().items()}
        weights["rope_freqs.weight"] = np.array(self.shape.rope_divisors(), np.float32)
        said = f"Agent traces; {self.tokens / 1e6:.1f}M tokens; seed {self.plan.seed}; loss {float(self.loss):.4f}."
        write_gguf(path, self.shape, weights, tokens_of(self.tokenizer), merges_of(self.tokenizer), said)
