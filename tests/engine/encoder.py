"""Writes an encoder model (BERT) of random weights, for tests of embeddings."""

from pathlib import Path

import gguf
import numpy as np

WORDS = ("the", "heat", "of", "tea", "sea", "and", "cold", "##s")
WIDTH, LAYERS, CONTEXT = 64, 2, 128


def write_encoder(path: Path, seed: int = 0) -> Path:
    """A BERT with mean pooling in its metadata, and word pieces of a few words."""
    random = np.random.default_rng(seed)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(w[2:] if w.startswith("##") else f"\u2581{w}" for w in WORDS)]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("encoder")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.NORMAL] * len(WORDS))
    writer.add_token_type_count(2)
    for name, number in (("unk", 1), ("sep", 3), ("pad", 0)):
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0.0, 0.3, shape).astype(np.float32))

    add("token_embd.weight", len(tokens), WIDTH)
    add("token_types.weight", 2, WIDTH)
    add("position_embd.weight", CONTEXT, WIDTH)
    parts = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH)}
    parts |= {"attn_output": (WIDTH, WIDTH), "ffn_up": (2 * WIDTH, WIDTH), "ffn_down": (WIDTH, 2 * WIDTH)}
    norms = ["token_embd_norm"]
    for layer in range(LAYERS):
        for part, (rows, columns) in parts.items():
            add(f"blk.{layer}.{part}.weight", rows, columns)
            add(f"blk.{layer}.{part}.bias", rows)
        norms += [f"blk.{layer}.attn_output_norm", f"blk.{layer}.layer_output_norm"]
    for norm in norms:
        writer.add_tensor(f"{norm}.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{norm}.bias", np.zeros(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
