"""The garbage collector stays out of the event loop's way while a node runs, and is as it was afterwards."""

import gc

from aios_actors.collector import RARER, rare_full_collections
from aios_actors.config.structs import Config
from aios_actors.node import Node


def test_full_collections_are_rare_while_it_is_entered() -> None:
    young, middle, old = gc.get_threshold()
    with rare_full_collections():
        assert gc.get_threshold() == (young, middle, old * RARER)
    assert gc.get_threshold() == (young, middle, old)


async def test_a_node_keeps_full_collections_rare_until_it_ends(tmp_path) -> None:
    before = gc.get_threshold()
    async with Node(Config(), {}, data=tmp_path):
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before
