"""The first time comes first, whatever was said before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.returns import Returns


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.floats(0, 100)), max_size=40), st.floats(0, 100))
def test_each_conversation_comes_once_at_its_last_time_and_in_order(
    said: list[tuple[str, float | None]], until: float
) -> None:
    returns, expected = Returns(), dict[str, float]()
    for conversation, due in said:
        if due is None:
            returns.drop(conversation)
            expected.pop(conversation, None)
        else:
            returns.add(conversation, due)
            expected[conversation] = due
        assert len(returns) == len(expected)
        assert returns.next() == min(expected.values(), default=None)
    popped = []
    while (first := returns.pop(until)) is not None:
        popped.append(first)
    assert sorted(popped) == sorted(item for item in expected.items() if item[1] <= until)
    assert [due for _, due in popped] == sorted(due for _, due in popped)
    assert len(returns) == len(expected) - len(popped)
