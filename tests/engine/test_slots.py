"""The books of the KV cells: nothing is held twice, lost or made up, whatever slots take, share and give back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.slots import CellPool, Slot

CELLS, CONTEXT = 24, 16
# Which slot does what, with how many tokens, and of which other one.
DEEDS = st.lists(
    st.tuples(st.sampled_from(["append", "one by one", "share", "cut"]), *[st.integers(0, 3)] * 2, st.integers(0, 8))
)


@given(DEEDS)
def test_free_cells_are_those_that_no_slot_holds(deeds: list[tuple[str, int, int, int]]) -> None:
    pool = CellPool(CELLS)
    slots = [Slot(index, CONTEXT, pool) for index in range(4)]
    expected: list[list[int]] = [[] for _ in slots]
    for number, (deed, own, other, count) in enumerate(deeds):
        slot, fits = slots[own], min(count, pool.free, CONTEXT - slots[own].length)
        tokens = [10 * number + i for i in range(fits)]
        match deed:
            case "append":
                slot.append(tokens)
                expected[own] += tokens
            case "one by one":
                for token in tokens:
                    slot.append([token])
                expected[own] += tokens
            case "share" if not slot.length:
                length = min(count, slots[other].length)
                slot.share(slots[other], length)
                expected[own] = expected[other][:length]
            case "cut":
                slot.cut(count)
                del expected[own][count:]
        assert [slot.tokens.tolist() for slot in slots] == expected
        held = {int(cell) for slot in slots for cell in slot._cells[: slot.length]}
        assert pool.free == CELLS - len(held)
        assert held.isdisjoint(pool._free[: pool.free].tolist())


@pytest.mark.parametrize("pool", [None, CellPool(CELLS)])
def test_tokens_one_by_one_are_as_all_at_once(pool: CellPool | None) -> None:
    together, singly = Slot(0, CONTEXT, pool), Slot(1, CONTEXT, pool)
    together.append(np.arange(5, dtype=np.int32))
    for token in range(5):
        singly.append([token])
    assert singly.tokens.tolist() == together.tokens.tolist() == list(range(5))


def test_more_cells_than_are_free_are_refused() -> None:
    pool = CellPool(2)
    with pytest.raises(ValueError, match="3 cells are wanted and 2 are free"):
        pool.take(3)
    assert {int(pool.take_one()), int(pool.take_one())} == {0, 1}
    with pytest.raises(ValueError, match="none is free"):
        pool.take_one()
