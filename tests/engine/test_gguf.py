"""The header reader tells what a GGUF holds, and refuses everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aios_actors.engine.gguf import ArrayLength, NotGguf, read_header
from scripts.bench.make_model import SHAPES, write


def test_it_reads_what_the_writer_wrote(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    shape = SHAPES["tiny"]
    assert (header.architecture, header.name, header.version) == ("llama", "tiny", 3)
    assert (header.context_length, header.layers) == (shape.context, shape.layers)
    assert header.metadata["tokenizer.ggml.tokens"] == ArrayLength(shape.vocabulary)
    assert header.chat_template is not None and "<tool_call>" in header.chat_template
    assert header.tensors["token_embd.weight"] == (shape.width, shape.vocabulary)
    assert len(header.tensors) == 1 + 9 * shape.layers + 1
    assert 140_000 < header.tensor_bytes < tiny_gguf.stat().st_size


def test_kv_bytes_are_those_of_the_shape(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    shape = SHAPES["tiny"]
    values = 2 * shape.layers * shape.heads_kv * (shape.width // shape.heads)
    assert header.kv_bytes(100, 3) == values * 2 * 100 * 3
    assert header.kv_bytes(100, 3, "q8_0", "q8_0") == values * 34 // 32 * 100 * 3


def test_the_fingerprint_tells_two_trainings_of_one_shape_apart(tiny_gguf: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    write(SHAPES["tiny"], other, name="tiny", seed=1)
    assert read_header(other).tensors == read_header(tiny_gguf).tensors
    assert read_header(other).fingerprint != read_header(tiny_gguf).fingerprint
    write(SHAPES["tiny"], other, name="tiny", seed=0)
    assert read_header(other).fingerprint == read_header(tiny_gguf).fingerprint


@pytest.mark.parametrize("content", [b"", b"GG", b"not a model at all", b"\x7fELF" + bytes(100)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(NotGguf, match=f"{path} is no GGUF file"):
        read_header(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_cut_header_is_refused(tiny_gguf: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = tiny_gguf.read_bytes()
    header_size = len(content) - read_header(tiny_gguf).tensor_bytes
    path = tmp_path / "cut.gguf"
    path.write_bytes(content[: data.draw(st.integers(4, header_size))])
    with pytest.raises(NotGguf, match="damaged or cut-off"):
        read_header(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_damaged_header_never_does_worse_than_being_refused(
    tiny_gguf: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(tiny_gguf.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, 2000))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    try:
        read_header(path)
    except NotGguf as error:
        assert str(path) in str(error)
