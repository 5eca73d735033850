"""The engine's promises on a real context, with settings, requests and times drawn at random: 12 seeds of the soak."""

from scripts.soak.engine import soak


def test_every_request_ends_once_with_the_tokens_that_it_gets_alone() -> None:
    counts = soak(range(12))
    assert counts["requests"] > 100
    tried = {"length", "stop", "slice", "preempted", "cancelled"}
    assert all(counts[what] for what in (*tried, "pages_out", "pages_in", "cached", "drafted")), counts
