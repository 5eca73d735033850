"""The GGUF writer: what llama.cpp needs is in the metadata, and matrices are Q8_0."""

import itertools

import gguf
import numpy as np
import pytest

from aios_actors.nano.chat import TEMPLATE, trace
from aios_actors.nano.gguf_file import read_gguf, write_gguf
from aios_actors.nano.network_shape import Shape
from aios_actors.nano.tasks import training_tasks
from aios_actors.nano.tokenizer import merges_of, tokens_of, train_tokenizer

SHAPE = Shape(vocabulary=640, width=64, layers=1, heads=2, feed_forward=96)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    tokenizer = train_tokenizer((trace(task) for task in itertools.islice(training_tasks(1), 1500)), 640)
    rng = np.random.default_rng(1)
    weights = {
        "token_embd.weight": rng.normal(size=(640, 64)).astype(np.float32),
        "output_norm.weight": np.ones(64, np.float32),
    }
    path = tmp_path_factory.mktemp("gguf") / "nano.gguf"
    write_gguf(path, SHAPE, weights, tokens_of(tokenizer), merges_of(tokenizer), "A test.")
    return gguf.GGUFReader(path), weights, path


def field(reader, name):
    return reader.get_field(name).contents()


def test_metadata(written):
    reader, _, path = written
    assert field(reader, "general.architecture") == "llama"
    assert field(reader, "general.name") == "nano"
    assert field(reader, "llama.context_length") == 2048
    assert field(reader, "tokenizer.ggml.model") == "gpt2"
    assert field(reader, "tokenizer.ggml.pre") == "smollm"
    assert field(reader, "tokenizer.ggml.add_bos_token") is False
    assert field(reader, "tokenizer.chat_template") == TEMPLATE
    assert field(reader, "tokenizer.ggml.tokens")[:5] == [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<tool_call>",
        "</tool_call>",
    ]
    assert field(reader, "tokenizer.ggml.token_type")[:6] == [3, 3, 3, 4, 4, 1]
    assert field(reader, "tokenizer.ggml.eos_token_id") == 2
    assert not path.with_name(path.name + ".part").exists()


def test_matrices_are_q8_0_within_its_precision(written):
    reader, weights, _ = written
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    embedding = tensors["token_embd.weight"]
    assert embedding.tensor_type == gguf.GGMLQuantizationType.Q8_0
    restored = gguf.quants.dequantize(embedding.data, embedding.tensor_type)
    assert np.abs(restored - weights["token_embd.weight"]).max() < 0.03
    assert tensors["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32


def test_a_row_that_is_no_multiple_of_32_is_refused(tmp_path):
    weights = {"token_embd.weight": np.zeros((4, 40), np.float32)}
    with pytest.raises(ValueError, match=r"token_embd\.weight: rows of 40"):
        write_gguf(tmp_path / "x.gguf", SHAPE, weights, ["<|endoftext|>", "<|im_end|>"], [], "A test.")


def test_what_was_written_is_read_back(written):
    reader, weights, path = written
    read, tokens, merges = read_gguf(path)
    assert read.keys() == weights.keys()
    for name, weight in weights.items():
        assert np.abs(read[name] - weight).max() <= np.abs(weight).max() / 127
    assert (tokens, merges) == (field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.merges"))
