"""States of real contexts, cut and joined: byte for byte what llama.cpp writes, and exactly what it would compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aios_actors.engine.batch import Batch
from aios_actors.engine.model import Logits, Model
from aios_actors.engine.state import Indivisible, cut, join, positions

MakeModel = Callable[..., Model]
MODES = {
    "split": {"kv_unified": False, "flash_attention": "off"},
    "split, flash attention": {"kv_unified": False, "flash_attention": "on"},
    "unified": {"kv_unified": True, "flash_attention": "off"},
    "unified, flash attention": {"kv_unified": True, "flash_attention": "on"},
    "f32": {"kv_type_k": "f32", "kv_type_v": "f32"},
}
TOKENS = [7 + i * 13 % 200 for i in range(100)]


@pytest.fixture(params=MODES)
def model(request: pytest.FixtureRequest, make_model: MakeModel) -> Model:
    return make_model(**MODES[request.param])


def compute(model: Model, sequence: int, tokens: list[int], position: int = 0) -> Logits:
    """Prefill; the logits after the last token."""
    batch = Batch(model.batch)
    batch.add(sequence, tokens, position, outputs=1)
    assert model.decode(batch.raw) == 0
    return model.logits(1).copy()


def test_a_state_is_its_prefix_and_its_tail(model: Model) -> None:
    compute(model, 1, TOKENS)
    whole = model.save(1)
    assert positions(whole) == range(100)
    tail = cut(whole, 60)
    assert positions(tail) == range(60, 100)
    assert len(tail) < len(whole) * 0.45
    assert join([(whole, 60), (tail, 40)]) == whole
    assert cut(whole, 0) == whole


def test_llama_cpp_itself_saves_the_tail_that_cut_gives(model: Model) -> None:
    compute(model, 2, TOKENS)
    whole = model.save(2)
    assert model.save(2, 60) == cut(whole, 60)


def test_a_tail_below_the_prefix_of_another_sequence_goes_on_bit_for_bit(model: Model) -> None:
    compute(model, 0, [*TOKENS[:60], 3, 4, 5])
    prefix = model.save(0)
    model.copy(0, 1, 60)
    compute(model, 1, TOKENS[60:], 60)
    whole = model.save(1)
    tail = model.save(1, 60)
    assert model.restore(2, whole)
    goes_on = compute(model, 2, [9], 100)
    model.truncate(1, 0)
    assert model.restore(3, join([(prefix, 60), (tail, 40)]))
    assert model.resident(3) == 100
    np.testing.assert_array_equal(compute(model, 3, [9], 100), goes_on)


def test_three_generations_of_tails_join(model: Model) -> None:
    compute(model, 0, TOKENS)
    whole = model.save(0)
    middle = cut(whole, 30)
    last = cut(whole, 80)
    assert join([(whole, 30), (middle, 50), (last, 20)]) == whole


def test_cells_in_any_order_are_put_in_a_row(make_model: MakeModel) -> None:
    model = make_model(kv_unified=True)
    for start in range(0, 100, 5):  # two sequences take turns in the shared cells, and one goes
        compute(model, 0, TOKENS[start : start + 5], start)
        compute(model, 1, TOKENS[start : start + 5], start)
    model.truncate(0, 40)
    compute(model, 2, TOKENS)
    scattered = model.save(2)
    assert positions(scattered) == range(100)
    goes_on = compute(model, 2, [9], 100)
    parts = [(scattered, 50), (cut(scattered, 50), 50)]
    model.truncate(2, 0)
    assert model.restore(3, join(parts))
    np.testing.assert_allclose(compute(model, 3, [9], 100), goes_on, atol=1e-3)


def test_parts_that_do_not_fit_are_refused(make_model: MakeModel) -> None:
    model, other = make_model(), make_model(kv_type_k="f32", kv_type_v="f32")
    compute(model, 0, TOKENS)
    compute(other, 0, TOKENS)
    whole, foreign = model.save(0), other.save(0)
    with pytest.raises(Indivisible, match="follow"):
        join([(whole, 50), (cut(whole, 60), 40)])
    with pytest.raises(Indivisible, match="different caches"):
        join([(foreign, 60), (cut(whole, 60), 40)])


@pytest.mark.parametrize("damage", ["empty", "short", "long", "streams", "gap", "layers"])
def test_what_is_no_state_of_cells_in_a_row_is_indivisible(make_model: MakeModel, damage: str) -> None:
    model = make_model(kv_unified=False)
    compute(model, 1, TOKENS)
    state = bytearray(model.save(1))
    match damage:
        case "empty":
            state.clear()
        case "short":
            del state[-20:]
        case "long":
            state += bytes(range(1, 30))
        case "streams":
            state[8:12] = b"\xff\xff\xff\xff"
        case "gap":
            state[20:24] = b"\x05\x00\x00\x00"
        case "layers":
            at = 20 + 12 * 100 + 4 * 3 - 12
            state[at + 4 : at + 8] = b"\xff\x00\x00\x00"
    with pytest.raises(Indivisible):
        cut(memoryview(bytes(state)), 10)
