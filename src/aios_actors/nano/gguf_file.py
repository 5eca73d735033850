"""Writes and reads the nano model as a GGUF file: architecture llama, Q8_0 matrices, tokenizer and chat template in the
metadata.

Norms stay float32 and everything else becomes Q8_0, whose rows must be multiples of 32. There is no output tensor:
llama.cpp then uses the embedding as the head. Needs the `gguf` package and numpy, not torch.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, TokenType
from numpy.typing import NDArray

from aios_actors.nano.chat import CONTROL_TOKENS, END_OF_TEXT, TEMPLATE, TURN_END, USER_DEFINED_TOKENS
from aios_actors.nano.network_shape import Shape


def token_types(tokens: list[str]) -> list[TokenType]:
    """The GGUF type of each token."""
    kinds = dict.fromkeys(CONTROL_TOKENS, TokenType.CONTROL) | dict.fromkeys(
        USER_DEFINED_TOKENS, TokenType.USER_DEFINED
    )
    return [kinds.get(token, TokenType.NORMAL) for token in tokens]


def write_gguf(
    path: Path,
    shape: Shape,
    weights: Mapping[str, NDArray[np.float32]],
    tokens: list[str],
    merges: list[str],
    description: str,
) -> None:
    """Writes the model to `path`, replacing it only when complete.

    Args:
        weights: tensors by their GGUF names without `.weight`'s change of order: matrices are (out, in).
        tokens: all tokens by index.
        merges: `left right` pairs in rank order.
        description: one line about the training, for `general.description`.

    Raises:
        ValueError: a matrix's rows are no multiple of 32 long.
    """
    partial = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_name("nano")
    writer.add_description(description)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, tokens, merges)
    for name, weight in weights.items():
        if weight.ndim == 1:
            writer.add_tensor(name, weight.astype(np.float32))
            continue
        if weight.shape[1] % 32:
            raise ValueError(f"{name}: rows of {weight.shape[1]} values; Q8_0 needs a multiple of 32")
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(weight.astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def read_gguf(path: Path) -> tuple[dict[str, NDArray[np.float32]], list[str], list[str]]:
    """What `write_gguf` wrote: weights (as Q8_0 left them), tokens by index, merges in rank order."""
    reader = gguf.GGUFReader(path)
    weights = {each.name: gguf.quants.dequantize(each.data, each.tensor_type) for each in reader.tensors}
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    return weights, tokens, merges


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: list[str], merges: list[str]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(token_types(tokens))
    writer.add_token_merges(merges)
    end_of_text, turn_end = tokens.index(END_OF_TEXT), tokens.index(TURN_END)
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(turn_end)
    writer.add_eot_token_id(turn_end)
    writer.add_pad_token_id(end_of_text)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
