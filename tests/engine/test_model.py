"""What the loop relies on in llama.cpp: batches, logits in order, copies, saved states, a vocabulary."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.engine.batch import Batch
from aios_actors.engine.model import LoadError, Model, load
from aios_actors.engine.spec import WorkerSpec
from scripts.bench.make_model import SPECIAL

MakeModel = Callable[..., Model]
PREFIX, NEXT = [5, 6, 7, 8, 9], [11]


def decode(model: Model, *runs: tuple[int, Sequence[int], int]) -> npt.NDArray[np.float32]:
    """Decode runs of (sequence, tokens, position); the logits after each run."""
    batch = Batch(64)
    batch.clear()
    for sequence, tokens, position in runs:
        batch.add(sequence, tokens, position, outputs=1)
    assert model.decode(batch.raw) == 0
    return model.logits(batch.outputs).copy()


@pytest.mark.parametrize("unified", [False, True])
def test_logits_come_in_the_order_of_the_batch(make_model: MakeModel, unified: bool) -> None:
    model = make_model(kv_unified=unified)
    together = decode(model, (0, PREFIX, 0), (1, [3], 0), (3, PREFIX[:2], 0))
    alone = [decode(make_model(kv_unified=unified), (0, t, 0))[0] for t in (PREFIX, [3], PREFIX[:2])]
    for row, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-2)
        assert row.argmax() == expected.argmax()


@pytest.mark.parametrize("unified", [False, True])
def test_a_copy_continues_like_its_source(make_model: MakeModel, unified: bool) -> None:
    model = make_model(kv_unified=unified)
    decode(model, (0, [*PREFIX, 40, 41], 0))
    model.copy(0, 2, len(PREFIX))
    assert (model.resident(0), model.resident(2)) == (len(PREFIX) + 2, len(PREFIX))
    copied = decode(model, (2, NEXT, len(PREFIX)))
    direct = decode(model, (1, PREFIX, 0)), decode(model, (1, NEXT, len(PREFIX)))
    np.testing.assert_allclose(copied, direct[1], atol=1e-2)


def test_a_saved_state_continues_in_another_sequence_and_context(make_model: MakeModel) -> None:
    model, other = make_model(), make_model()
    decode(model, (0, PREFIX, 0))
    state = model.save(0)
    expected = decode(model, (0, NEXT, len(PREFIX)))
    assert other.restore(3, state)
    assert other.resident(3) == len(PREFIX)
    np.testing.assert_array_equal(decode(other, (3, NEXT, len(PREFIX))), expected)


def test_a_broken_state_is_refused_and_leaves_nothing(make_model: MakeModel) -> None:
    model = make_model()
    decode(model, (0, PREFIX, 0))
    assert not model.restore(1, model.save(0)[:50])
    assert model.resident(1) == 0


def test_digests_tell_kv_layouts_apart(make_model: MakeModel) -> None:
    assert make_model().digest == make_model().digest != make_model(kv_type_k="f32").digest


@settings(deadline=None)
@given(text=st.text(max_size=40))
def test_text_survives_the_vocabulary(model: Model, text: str) -> None:
    assert model.vocab.detokenize(model.vocab.tokenize(text)) == text


def test_names_of_control_tokens_count_only_where_they_may(model: Model) -> None:
    vocab = model.vocab
    start = vocab.special("<|im_start|>")
    assert start is not None
    assert vocab.tokenize("<|im_start|>", special=True) == [start]
    assert start not in vocab.tokenize("<|im_start|>")
    assert set(vocab.control_names) == set(SPECIAL[:3])
    assert vocab.special("<nothing>") is None
    assert vocab.detokenize([start, *vocab.tokenize("a")], special=False) == "a"
    assert {vocab.pieces[t] for t in vocab.eog} == {b"<|endoftext|>", b"<|im_end|>"}


def test_metadata_is_read(model: Model) -> None:
    assert model.metadata("general.name") == "tiny"
    assert model.metadata("no.such.key") is None
    template = model.chat_template()
    assert template is not None and len(template) > 256, "longer than the first buffer"


def test_a_model_outlives_the_failed_load_of_another(tiny_gguf: Path, tmp_path: Path) -> None:
    """llama.cpp's one log callback is that of the last load; it must not be gone when an older model logs."""
    first = load(WorkerSpec(model_path=str(tiny_gguf), context=256, sequences=1, threads=1))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_gguf.read_bytes()[:-2000])
    for _ in range(20):
        with pytest.raises(LoadError):
            load(WorkerSpec(model_path=str(broken), context=256, sequences=1, threads=1))
    gc.collect()
    first.close()
