"""Chains of chunks: what they hold, what they share, what they cost."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from aios_actors.kernel.context.tokens import OVERHEAD, SMALL, TokenTree, common_prefix, read


def numbers(count: int, first: int = 0) -> "array[int]":
    return array("i", range(first, first + count))


def test_a_chain_gives_back_what_was_written() -> None:
    tree = TokenTree()
    first = tree.write(numbers(1000))
    tree.hold(first)
    second = tree.write(numbers(1500), first, 1000)
    tree.hold(second)
    assert read(first, 1000) == numbers(1000)
    assert read(second, 1500) == numbers(1500)
    assert second.parent is first and len(second.tokens) == 500


def test_a_chain_that_parts_in_the_midst_shares_up_to_there() -> None:
    tree = TokenTree()
    first = tree.write(numbers(1000))
    tree.hold(first)
    other = tree.write(numbers(600) + numbers(50, first=9000), first, 1000)
    tree.hold(other)
    assert (other.start, len(other.tokens)) == (600, 50)
    assert read(other, 650) == numbers(600) + numbers(50, first=9000)


def test_a_growing_conversation_costs_four_bytes_a_token_and_little_more() -> None:
    tree = TokenTree()
    chunk = None
    for length in range(64, 8192 + 1, 64):
        grown = tree.write(numbers(length), chunk, length - 64)
        tree.hold(grown)
        if chunk is not None:
            tree.release(chunk)
        chunk = grown
    assert chunk is not None and read(chunk, 8192) == numbers(8192)
    assert tree.bytes <= 4 * 8192 + OVERHEAD * (8192 // SMALL + 1)


def test_the_last_holder_frees_a_chain_and_no_other() -> None:
    tree = TokenTree()
    base = tree.write(numbers(1000))
    tree.hold(base)
    left, right = (tree.write(numbers(1000) + numbers(400, first=start), base, 1000) for start in (5000, 7000))
    tree.hold(left)
    tree.hold(right)
    tree.release(base)
    tree.release(left)
    assert read(right, 1400) == numbers(1000) + numbers(400, first=7000)
    assert len(tree) == 2
    tree.release(right)
    assert (len(tree), tree.bytes) == (0, 0)


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_common_prefix_is_that_of_the_naive_loop(ours: list[int], theirs: list[int]) -> None:
    naive = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    assert common_prefix(array("i", ours), array("i", theirs)) == naive
