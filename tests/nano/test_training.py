"""Training: the planted circuit copies, a run learns, resumes where it stopped, and exports what llama.cpp reads."""

import itertools

import gguf
import pytest
import torch
from torch.nn import functional

from aios_actors.nano.chat import trace
from aios_actors.nano.muon import orthogonalise
from aios_actors.nano.network import Network, rope_table, rotate
from aios_actors.nano.network_shape import Shape
from aios_actors.nano.tasks import training_tasks
from aios_actors.nano.tokenizer import train_tokenizer
from aios_actors.nano.training import Plan, Trainer, drill_share_at, rate_at

SMALL = Shape(vocabulary=640, width=64, layers=2, heads=2, feed_forward=96)
PLAN = Plan(tokens=12_000, matrix_rate=0.02, other_rate=0.01, warmup_steps=1, decay=0.1, pool=96)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer((trace(task) for task in itertools.islice(training_tasks(1), 1500)), 640)


def silent(text):
    """No log."""


def test_an_untrained_network_already_copies():
    torch.manual_seed(1)
    network = Network(Shape())
    block = torch.randint(5, 1024, (8, 30))
    with torch.no_grad():
        logits = network(torch.cat((block, block), 1))
    guesses = logits[:, 30:59].argmax(-1)
    assert (guesses == block[:, 1:]).float().mean() > 0.1  # chance is 0.001


def test_rotation_depends_on_the_distance_only():
    torch.manual_seed(1)
    turns = rope_table(SMALL, 40)
    q, k = torch.randn(32), torch.randn(32)
    rows = torch.stack([q, k]).expand(40, 2, 32).transpose(0, 1)[:, :, None]
    turned = rotate(rows, turns)
    scores = turned[0, :, 0] @ turned[1, :, 0].T
    assert torch.allclose(scores[9, 4], scores[35, 30], atol=1e-4)
    assert not torch.allclose(scores[9, 4], scores[9, 5], atol=1e-4)


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(1)
    for rows, columns in ((32, 64), (64, 32)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(2, rows, columns)))
        assert values.min() > 0.5 and values.max() < 1.5


def test_schedules():
    assert rate_at(0.0, 0.3) == rate_at(0.69, 0.3) == 1.0
    assert rate_at(0.85, 0.3) == pytest.approx(0.5)
    assert rate_at(1.2, 0.3) == 0.0
    assert drill_share_at(0, PLAN) > drill_share_at(400_000, PLAN) > drill_share_at(10**9, PLAN) == PLAN.drill_share


def test_a_run_ends_with_its_budget_and_resumes_where_it_stopped(tokenizer, tmp_path):
    trainer = Trainer(tokenizer, SMALL, PLAN)
    saved = []
    trainer.run(lambda state: saved.append(state.tokens), silent)
    assert saved and saved[-1] >= PLAN.tokens
    assert trainer.progress() >= 1
    trainer.save(tmp_path / "checkpoint.pt")
    again = Trainer(tokenizer, SMALL, PLAN)
    again.resume(tmp_path / "checkpoint.pt")
    assert (again.steps, again.tokens) == (trainer.steps, trainer.tokens)
    for one, other in zip(trainer.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_lowers_the_loss_on_its_own_batch(tokenizer):
    trainer = Trainer(tokenizer, SMALL, PLAN)
    text = trace(next(training_tasks(1)))
    ids = torch.tensor([tokenizer.encode(text).ids])

    def loss():
        with torch.no_grad():
            return functional.cross_entropy(trainer.network(ids[:, :-1])[0], ids[0, 1:]).item()

    before = loss()
    trainer.run(lambda state: None, silent)
    assert loss() < before - 0.5


def test_the_exported_file_has_every_tensor(tokenizer, tmp_path):
    trainer = Trainer(tokenizer, SMALL, PLAN)
    trainer.export(tmp_path / "nano.gguf")
    names = {tensor.name for tensor in gguf.GGUFReader(tmp_path / "nano.gguf").tensors}
    assert names == {*trainer.network.state_dict(), "rope_freqs.weight"}
