"""Weights that are small beside the memory are read, all others are mapped."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from aios_actors.engine.gguf import read_header
from aios_actors.engine.weights import maps_weights


def test_weights_of_an_eighth_of_the_memory_are_read(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert not maps_weights(None, header, memory=8 * header.tensor_bytes)
    assert maps_weights(None, header, memory=8 * header.tensor_bytes - 1)
    assert not maps_weights(None, header), "this machine has more than that"


def test_a_model_in_several_files_is_mapped(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    first = replace(header, metadata=header.metadata | {"split.count": 2})
    assert maps_weights(None, first, memory=100 * header.tensor_bytes)


@pytest.mark.parametrize("mmap", [True, False])
def test_what_the_config_says_counts(tiny_gguf: Path, mmap: bool) -> None:
    header = read_header(tiny_gguf)
    assert all(maps_weights(mmap, header, memory=share * header.tensor_bytes) == mmap for share in (1, 100))
