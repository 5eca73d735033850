"""Writes a random-weight GGUF of a named real shape: it costs what a trained one costs, and says nonsense.

Right for measuring speed, useless for answers. Weights are random Q8_0 blocks, seeded; the vocabulary is a byte-level
BPE of the real size with made-up words; the chat template is ChatML with tools. Needs the `gguf` package.

    python -m scripts.bench.make_model 135m 135m.gguf
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import gguf
import msgspec
import numpy as np
import numpy.typing as npt

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
_CONTROL = 3  # the first three mark turns, the others are text that a parser reads
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}</tool_call>"
    "{% endfor %}"
    "{% if loop.first and tools %}{% for t in tools %}{{ '\n' ~ (t | tojson) }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Shape(msgspec.Struct, frozen=True):
    """The sizes of a llama-architecture model."""

    layers: int
    width: int
    heads: int
    heads_kv: int
    feed_forward: int
    vocabulary: int
    context: int = 8192
    tied: bool = True


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 128, 1024, context=1024),
    "nano": Shape(6, 192, 6, 6, 512, 1024, context=2048),
    "135m": Shape(30, 576, 9, 3, 1536, 128_256),
    "0.5b": Shape(24, 896, 14, 2, 4864, 151_936, context=32_768),
    "1b": Shape(16, 2048, 32, 8, 8192, 128_256, context=131_072),
    "8b": Shape(32, 4096, 32, 8, 14_336, 128_256, context=131_072, tied=False),
}


FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "models"


def model_file(shape: str) -> Path:
    """The model of a named shape under `build/models`; written if it is not there."""
    path = FOLDER / f"random-{shape}.gguf"
    if not path.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        write(SHAPES[shape], unfinished, name=f"random-{shape}")
        unfinished.rename(path)
    return path


def byte_letters() -> list[str]:
    """The printable character that stands for each byte in a byte-level BPE, as GPT-2 fixed it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    return [chr(b) for b in printable] + [chr(256 + i) for i, _ in enumerate(others)]


def words(count: int) -> Iterator[tuple[str, str]]:
    """`count` pairs whose concatenations are distinct words, each part known before: the merges."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    pairs = [a + b for a, b in itertools.product(letters, repeat=2)]
    singles = itertools.product(letters, letters)
    spaced = (("Ġ", a) for a in letters)
    spaced_pairs = (("Ġ" + p[0], p[1]) for p in pairs)
    quads = itertools.product(pairs, pairs)
    return itertools.islice(itertools.chain(singles, spaced, spaced_pairs, quads), count)


def write(shape: Shape, path: Path, *, name: str, seed: int = 0, floats: bool = False) -> None:
    """Write the model to `path`; equal arguments give equal bytes.

    With `floats` the same weights are 32-bit floats. Before it multiplies by Q8_0 ones llama.cpp rounds activations
    too, so that the last bit of one may grow to a hundredth of a nat.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    _add_vocabulary(writer, shape.vocabulary)
    _add_tensors(writer, shape, np.random.default_rng(seed), floats)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    merges = list(words(size - 256 - len(SPECIAL)))
    tokens = [*byte_letters(), *(a + b for a, b in merges), *SPECIAL]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    kinds += [gguf.TokenType.CONTROL if i < _CONTROL else gguf.TokenType.USER_DEFINED for i in range(len(SPECIAL))]
    first_special = len(tokens) - len(SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in merges])
    writer.add_bos_token_id(first_special)
    writer.add_eos_token_id(first_special + 2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _add_tensors(writer: gguf.GGUFWriter, shape: Shape, random: np.random.Generator, floats: bool) -> None:
    width, kv = shape.width, shape.width // shape.heads * shape.heads_kv
    matrices = {"token_embd": (shape.vocabulary, width)} | ({} if shape.tied else {"output": (shape.vocabulary, width)})
    norms = ["output_norm"]
    for layer in range(shape.layers):
        sizes = {
            "attn_q": (width, width),
            "attn_k": (kv, width),
            "attn_v": (kv, width),
            "attn_output": (width, width),
            "ffn_gate": (shape.feed_forward, width),
            "ffn_up": (shape.feed_forward, width),
            "ffn_down": (width, shape.feed_forward),
        }
        matrices |= {f"blk.{layer}.{part}": size for part, size in sizes.items()}
        norms += [f"blk.{layer}.attn_norm", f"blk.{layer}.ffn_norm"]
    for part, (rows, columns) in matrices.items():
        blocks = _random_q8_0(random, rows, columns)
        if floats:
            writer.add_tensor(f"{part}.weight", gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0))
        else:
            writer.add_tensor(f"{part}.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for part in norms:
        writer.add_tensor(f"{part}.weight", np.ones(width, np.float32))


def _random_q8_0(random: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Rows of Q8_0 blocks (a half-precision scale, 32 signed bytes) whose values have variance 1 / columns."""
    blocks = rows * columns // 32
    data = np.empty((blocks, 34), np.uint8)
    data[:, :2] = np.array([1.0 / (73.3 * math.sqrt(columns))], np.float16).view(np.uint8)
    data[:, 2:] = random.integers(0, 255, (blocks, 32), np.uint8) - 127  # wraps to -127..127 as signed bytes
    return data.reshape(rows, columns // 32 * 34)


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description="Write a random-weight GGUF of a real shape.")
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(SHAPES[arguments.shape], arguments.path, name=f"random-{arguments.shape}", seed=arguments.seed)
    print(f"{arguments.path}: {arguments.path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
