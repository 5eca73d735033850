"""Errors name some of what there is, and stay short on a node of thousands."""

import pytest

from aios_actors.kernel.agents.listing import listing


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "none"),
        (["clerk"], "clerk"),
        (["a", "b", "c", "d", "e"], "a, b, c, d, e"),
        ([f"agent-{n}" for n in range(10_000)], "agent-0, agent-1, agent-2, agent-3, agent-4 and 9995 more"),
    ],
)
def test_the_first_names_and_how_many_more(names: list[str], text: str) -> None:
    assert listing(names) == text
