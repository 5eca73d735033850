"""Weights that are small beside the memory are read, all others are mapped."""

from pathlib import Path

from msgspec.structs import replace

from aios_actors.engine.gguf import read_header
from aios_actors.engine.weights import reads_weights


def test_weights_of_an_eighth_of_the_memory_are_read(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert reads_weights(header, memory=8 * header.tensor_bytes)
    assert not reads_weights(header, memory=8 * header.tensor_bytes - 1)
    assert reads_weights(header), "this machine has more than that"


def test_a_model_in_several_files_is_mapped(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    first = replace(header, metadata=header.metadata | {"split.count": 2})
    assert not reads_weights(first, memory=100 * header.tensor_bytes)
