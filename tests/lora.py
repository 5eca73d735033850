"""Writes LoRA adapters of random weights, for tests."""

from pathlib import Path

import gguf
import numpy as np

RANK = 4


def write_adapter(path: Path, seed: int, layers: int, width: int, size: float = 0.3) -> str:
    """A LoRA for the queries and outputs of attention, with weights around `size`; `path` as the settings want it."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * RANK)
    for layer in range(layers):
        for part in ("attn_q", "attn_output"):
            for factor, shape in (("a", (RANK, width)), ("b", (width, RANK))):
                values = random.normal(0.0, size, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{part}.weight.lora_{factor}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)
