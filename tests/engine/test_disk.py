"""The swap file gives back what was stored or nothing, stays within its budget and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.engine.disk import BLOCK, Extent, SwapFile, checksum

OURS, THEIRS = b"our model's page", b"another model's."


def content(seed: int, length: int) -> memoryview:
    return memoryview(bytes((seed + i * 7) % 251 for i in range(min(length, 997))) * (length // 997 + 1))[:length]


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    swap = SwapFile(str(tmp_path / "made" / "when missing"), 10 * BLOCK)
    pages = {seed: content(seed, length) for seed, length in enumerate([0, 1, 1000, BLOCK, 3 * BLOCK])}
    extents = {seed: swap.write(page, OURS) for seed, page in pages.items()}
    for seed, extent in extents.items():
        assert extent is not None and swap.read(extent, OURS) == pages[seed]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4 * BLOCK)), max_size=30), st.integers(0, 12))
def test_the_budget_holds_and_freed_blocks_are_used_again(steps: list[tuple[bool, int]], blocks: int) -> None:
    swap = SwapFile("", blocks * BLOCK + 17)
    kept: list[tuple[int, Extent]] = []
    for seed, (store, length) in enumerate(steps):
        if store:
            fits = swap.fits(length)
            extent = swap.write(content(seed, length), OURS)
            assert (extent is not None) == fits
            if extent is not None:
                kept.append((seed, extent))
        elif kept:
            swap.free(kept.pop(length % len(kept))[1])
        used = [block for _, extent in kept for block in extent.blocks]
        assert len(used) == len(set(used)) and swap.used == len(used) * BLOCK <= blocks * BLOCK
        assert all(swap.read(extent, OURS) == content(seed, extent.length) for seed, extent in kept)
        if swap._file is not None:
            assert os.fstat(swap._file.fileno()).st_size <= blocks * BLOCK
    swap.close()


@pytest.mark.parametrize("at", [0, 7, 9, 25, 33, 37, 40, BLOCK, 2 * BLOCK + 5])
def test_a_page_with_a_flipped_bit_is_refused(tmp_path: Path, at: int) -> None:
    swap = SwapFile(str(tmp_path), 10 * BLOCK)
    extent = swap.write(content(1, 2 * BLOCK + 100), OURS)
    assert extent is not None and swap._file is not None
    offset = extent.blocks[at // BLOCK] * BLOCK + at % BLOCK
    byte = os.pread(swap._file.fileno(), 1, offset)
    os.pwrite(swap._file.fileno(), bytes([byte[0] ^ 4]), offset)
    assert swap.read(extent, OURS) is None
    os.pwrite(swap._file.fileno(), byte, offset)
    assert swap.read(extent, OURS) == content(1, 2 * BLOCK + 100)


def test_a_page_of_another_model_a_misplaced_and_a_truncated_one_are_refused(tmp_path: Path) -> None:
    swap = SwapFile(str(tmp_path), 10 * BLOCK)
    first, second = swap.write(content(1, 2 * BLOCK), OURS), swap.write(content(2, 2 * BLOCK), OURS)
    assert first is not None and second is not None and swap._file is not None
    assert swap.read(first, THEIRS) is None
    assert swap.read(Extent(first.blocks, first.length - 1), OURS) is None
    assert swap.read(Extent((first.blocks[0], *second.blocks[1:]), first.length), OURS) is None
    os.ftruncate(swap._file.fileno(), BLOCK)
    assert swap.read(second, OURS) is None


def test_a_disk_that_fails_costs_the_page_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = SwapFile(str(tmp_path), 4 * BLOCK)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", full)
        assert swap.write(content(1, 100), OURS) is None
    assert swap.used == 0
    assert swap.write(content(1, 100), OURS) is not None
    blocked = tmp_path / "file"
    blocked.touch()
    assert not SwapFile(str(blocked), 4 * BLOCK).could_fit(1), "a folder that cannot be used is no tier"


KILLED = """
import os, signal, sys
from aios_actors.engine.disk import SwapFile
swap = SwapFile(sys.argv[1], 1 << 20)
assert swap.write(memoryview(bytes(1 << 19)), bytes(16))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_file_behind(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@given(st.binary(min_size=1, max_size=20_000), st.data())
def test_the_checksum_finds_any_changed_byte(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = bytearray(data)
    changed[at] ^= draw.draw(st.integers(1, 255))
    assert checksum(memoryview(data)) != checksum(memoryview(bytes(changed)))
