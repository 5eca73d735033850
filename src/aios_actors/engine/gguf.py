"""A small reader of GGUF headers: what a file holds, without loading it.

Contract: `read_header` reads metadata and tensor descriptions of a GGUF of version 2 or 3 and never the weights, apart
from samples for the fingerprint; arrays (the vocabulary) are skipped, only their lengths are kept. A file that is no
GGUF, or a damaged one, raises `NotGguf` with what is wrong. The node uses this to check a config before any worker
starts, so nothing here imports llama.cpp or numpy. The format is described in ggml's docs/gguf.md.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from pathlib import Path

from msgspec import Struct

MAGIC = b"GGUF"
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 16 << 20
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_KV_BYTES_PER_VALUE = {
    "auto": 2.0, "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32,
    "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip

Value = int | float | bool | str


class NotGguf(Exception):
    """Raised when a file is no GGUF that this reader understands; the message has the path and the reason."""


class ArrayLength(Struct, frozen=True):
    """Stands for a metadata array, whose elements were skipped."""

    length: int


class GgufHeader(Struct, frozen=True):
    """What a GGUF's header says. `tensor_bytes` is the size of its weights; `fingerprint` tells two models apart."""

    version: int
    metadata: dict[str, Value | ArrayLength]
    tensors: dict[str, tuple[int, ...]]
    tensor_bytes: int
    fingerprint: str

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, `llama` for instance."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def name(self) -> str:
        """The model's name, or its architecture's."""
        return str(self.metadata.get("general.name", self.architecture))

    @property
    def context_length(self) -> int:
        """The context in tokens that the model was trained with; 0 if the file does not say."""
        return self._integer("context_length")

    @property
    def parts(self) -> int:
        """How many files the model is split into; this is the header of the first."""
        count = self.metadata.get("split.count", 1)
        return count if isinstance(count, int) and count > 0 else 1

    @property
    def layers(self) -> int:
        """Transformer blocks; 0 if the file does not say."""
        return self._integer("block_count")

    @property
    def chat_template(self) -> str | None:
        """The jinja2 chat template, if there is one."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    def kv_bytes(self, context: int, sequences: int, type_k: str = "f16", type_v: str = "f16") -> int:
        """Bytes of KV cache for `sequences` of `context` tokens each; an estimate for uniform attention layers."""
        heads = self._integer("attention.head_count")
        heads_kv = self._integer("attention.head_count_kv") or heads
        width = self._integer("embedding_length") // heads if heads else 0
        key = (self._integer("attention.key_length") or width) * _KV_BYTES_PER_VALUE[type_k]
        value = (self._integer("attention.value_length") or width) * _KV_BYTES_PER_VALUE[type_v]
        return int(self.layers * heads_kv * (key + value)) * context * sequences

    def _integer(self, key: str) -> int:
        value = self.metadata.get(f"{self.architecture}.{key}", 0)
        return value if isinstance(value, int) else 0


def read_header(path: Path) -> GgufHeader:
    """The header of the file at `path`. Raises `NotGguf`, or `OSError` if it cannot be read."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise NotGguf(f"{path} is no GGUF file: it does not begin with {MAGIC.decode()!r}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _parse(data)
            except (struct.error, OverflowError, UnicodeDecodeError, _Damaged) as error:
                raise NotGguf(f"{path} is a damaged or cut-off GGUF file: {error}") from error


class _Damaged(Exception):
    """Raised when the header contradicts itself."""


class _Cursor:
    """Reads little-endian values one after the other."""

    def __init__(self, data: mmap.mmap, offset: int) -> None:
        self.data = data
        self.offset = offset

    def scalar(self, layout: str) -> int | float | bool:
        value = struct.unpack_from(layout, self.data, self.offset)[0]
        self.offset += struct.calcsize(layout)
        return value  # type: ignore[no-any-return]

    def integer(self, layout: str) -> int:
        return int(self.scalar(layout))

    def string(self) -> str:
        length = self.integer("<Q")
        if length > _LONGEST_STRING or self.offset + length > len(self.data):
            raise _Damaged(f"a string of {length} bytes at offset {self.offset}")
        text = self.data[self.offset : self.offset + length].decode("utf-8")
        self.offset += length
        return text

    def value(self, kind: int) -> Value | ArrayLength:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.skip_array()
        if kind not in _SCALARS:
            raise _Damaged(f"a metadata value of unknown type {kind} at offset {self.offset}")
        return self.scalar(_SCALARS[kind])

    def skip_array(self) -> ArrayLength:
        kind, length = self.integer("<I"), self.integer("<Q")
        if length > len(self.data):
            raise _Damaged(f"an array of {length} elements at offset {self.offset}")
        if kind == _STRING:
            for _ in range(length):
                self.offset += 8 + struct.unpack_from("<Q", self.data, self.offset)[0]
        elif kind in _SCALARS:
            self.offset += struct.calcsize(_SCALARS[kind]) * length
        else:
            raise _Damaged(f"an array of unknown type {kind} at offset {self.offset}")
        return ArrayLength(length)


def _parse(data: mmap.mmap) -> GgufHeader:
    cursor = _Cursor(data, len(MAGIC))
    version = cursor.integer("<I")
    if version not in (2, 3):
        raise _Damaged(f"GGUF version {version} is not supported (2 and 3 are)")
    tensor_count, value_count = cursor.integer("<Q"), cursor.integer("<Q")
    metadata: dict[str, Value | ArrayLength] = {}
    for _ in range(value_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.integer("<I"))
    tensors = {}
    for _ in range(tensor_count):
        name = cursor.string()
        dimensions = cursor.integer("<I")
        tensors[name] = tuple(cursor.integer("<Q") for _ in range(dimensions))
        cursor.offset += 4 + 8  # type and offset
    tensor_bytes = len(data) - cursor.offset
    if tensor_count and tensor_bytes <= 0:
        raise _Damaged("it ends before its tensors")
    return GgufHeader(version, metadata, tensors, tensor_bytes, _fingerprint(data, cursor.offset))


def _fingerprint(data: mmap.mmap, header_end: int) -> str:
    """Hashes the header and evenly spread samples of the weights: two trainings of one shape share their header."""
    hasher = hashlib.blake2b(data[:header_end], digest_size=16)
    stride = max((len(data) - header_end) // _SAMPLES, 1)
    for offset in range(header_end, len(data), stride):
        hasher.update(data[offset : offset + min(_SAMPLE_BYTES, stride)])
    return hasher.hexdigest()
