"""A node's promises with real workers that die, and orders that come, at random: 4 seeds of the soak."""

from scripts.soak.node import soak


def test_every_task_ends_with_the_answer_of_an_undisturbed_node() -> None:
    counts = soak(range(4))
    assert counts["tasks"] > 20
