"""From a worker's settings to llama.cpp's parameter structs.

Contract: pure translation, apart from looking up devices in ggml's registry. What `attention.py` leaves `auto` is
resolved here, and nowhere else: on a GPU unified streams and llama.cpp's own choice of attention; on the CPU, without
our kernel, split streams and no flash attention (llama.cpp's halves decoding there, and scans every parked conversation
of a unified cache). Where cells are given, the cache is unified in any case: only then can sequences share them.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import llama_cpp._ggml as ggml

from aios_actors.engine.gguf import GgufHeader
from aios_actors.engine.lookup import LONGEST_DRAFT
from aios_actors.engine.machine import usable_cpus
from aios_actors.engine.spec import WorkerSpec
from aios_actors.engine.weights import maps_weights
from aios_actors.engine.width import GPU_SEQUENCES, cpu_sequences, places

KV_TYPES: dict[str, int] = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
    "iq4_nl": llama_cpp.GGML_TYPE_IQ4_NL,
}
_SPLIT_MODES = {
    "none": llama_cpp.LLAMA_SPLIT_MODE_NONE,
    "layer": llama_cpp.LLAMA_SPLIT_MODE_LAYER,
    "row": llama_cpp.LLAMA_SPLIT_MODE_ROW,
    "tensor": llama_cpp.LLAMA_SPLIT_MODE_TENSOR,
}
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
DEFAULT_CONTEXT_LIMIT = 8192
# Below this size a second thread costs a narrow batch more at llama.cpp's barriers than it computes: with 3 MB of
# weights one thread decodes one sequence as fast as two on an idle machine, and two to nine times as fast on a busy
# one. Eight sequences take 1.2 ms with two threads and 2.1 with one: a batch of so many tokens gets two.
SINGLE_THREAD_BYTES = 24 << 20
WIDE_TOKENS, WIDE_THREADS = 4, 2


class SpecError(Exception):
    """Raised when a worker's settings cannot be given to llama.cpp; the message names the setting."""


def uses_gpu(spec: WorkerSpec) -> bool:
    """Whether any layer goes to a GPU, which decides all other defaults."""
    return spec.gpu_layers != 0 and spec.device != "none" and bool(llama_cpp.llama_supports_gpu_offload())


def uses_mmap(spec: WorkerSpec, header: GgufHeader) -> bool:
    """Whether weights are mapped from the file, and not read: those for a GPU always, unless the spec says no."""
    return (spec.mmap is None and uses_gpu(spec)) or maps_weights(spec.mmap, header)


def model_params(spec: WorkerSpec, header: GgufHeader, progress: Any) -> tuple[llama_cpp.llama_model_params, list[Any]]:
    """Model parameters, and the objects that must live as long as they are used. Raises `SpecError`."""
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = spec.gpu_layers
    params.split_mode = _SPLIT_MODES[spec.split]
    params.main_gpu = spec.main_gpu
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP if uses_mmap(spec, header) else 0
    params.load_mode |= llama_cpp.LLAMA_LOAD_MODE_MLOCK if spec.mlock else 0
    params.progress_callback = progress
    keep: list[Any] = [progress]
    if spec.tensor_split:
        limit = llama_cpp.llama_max_devices()
        if len(spec.tensor_split) > limit:
            raise SpecError(f"tensor_split has {len(spec.tensor_split)} parts, this build of llama.cpp takes {limit}")
        split = (ctypes.c_float * limit)(*spec.tensor_split)
        params.tensor_split = ctypes.cast(split, ctypes.POINTER(ctypes.c_float))
        keep.append(split)
    devices = _devices(spec.device)
    if devices is not None:
        params.devices = ctypes.cast(devices, ctypes.c_void_p)
        keep.append(devices)
    return params, keep


def context_params(spec: WorkerSpec, pointer: Any) -> llama_cpp.llama_context_params:
    """Context parameters for the model at `pointer`, every `auto` resolved; `n_ctx` counts all sequences' cells."""
    gpu = uses_gpu(spec)
    sequences = width(spec, pointer)
    if spec.cells and spec.kv_unified is False:
        raise SpecError("cells needs a unified KV cache, whose cells all sequences share: leave kv_unified away")
    threads = spec.threads or (1 if llama_cpp.llama_model_size(pointer) < SINGLE_THREAD_BYTES else usable_cpus())
    params = llama_cpp.llama_context_default_params()
    params.kv_unified = gpu or spec.cells > 0 if spec.kv_unified is None else spec.kv_unified
    params.n_seq_max = places(sequences) if params.kv_unified else sequences
    longest = _longest(spec, pointer)
    params.n_ctx = min(_whole(spec.cells), longest * params.n_seq_max) if spec.cells else longest * sequences
    params.n_batch = max(spec.batch, sequences)
    params.n_ubatch = min(spec.ubatch or params.n_batch, params.n_batch)
    params.n_threads = threads
    params.n_threads_batch = spec.threads_batch or threads
    type_k, type_v = kv_types(spec, pointer)
    params.type_k, params.type_v = KV_TYPES[type_k], KV_TYPES[type_v]
    params.offload_kqv, params.op_offload = spec.kv_offload, spec.op_offload
    automatic = _FLASH_ATTENTION["auto" if gpu else "off"]
    params.flash_attn_type = automatic if spec.flash_attention == "auto" else _FLASH_ATTENTION[spec.flash_attention]
    if type_v not in ("f32", "f16", "bf16") and params.flash_attn_type == 0:
        if spec.flash_attention == "off":
            raise SpecError(f"kv_type_v {type_v!r} needs flash attention: set it to 'on' or 'auto'")
        params.flash_attn_type = 1
    if spec.device_sampling:
        params.n_outputs_max_per_seq = LONGEST_DRAFT + 1
    params.no_perf = True
    return params


def width(spec: WorkerSpec, pointer: Any) -> int:
    """How many generations run at once."""
    if spec.sequences:
        return spec.sequences
    if uses_gpu(spec):
        return GPU_SEQUENCES
    cells = llama_cpp.llama_model_n_layer(pointer) * _longest(spec, pointer)
    return cpu_sequences(4 * cells * llama_cpp.llama_model_n_head_kv(pointer) * _head_width(pointer))


def context_length(spec: WorkerSpec, pointer: Any) -> int:
    """The tokens that one sequence may have."""
    longest = _longest(spec, pointer)
    return min(longest, _whole(spec.cells)) if spec.cells else longest


def _longest(spec: WorkerSpec, pointer: Any) -> int:
    return _whole(spec.context or min(llama_cpp.llama_model_n_ctx_train(pointer), DEFAULT_CONTEXT_LIMIT))


def _whole(cells: int) -> int:
    """llama.cpp rounds up to 256 cells a stream anyway."""
    return -(-cells // 256) * 256


def kv_types(spec: WorkerSpec, pointer: Any) -> tuple[str, str]:
    """The types of keys and values in the KV cache, `auto` resolved.

    llama.cpp's attention on the CPU is one small dot product after the other, and the f16 ones convert every element.
    With q8_0 keys and bf16 values a step of 8 sequences took 3.7 instead of 12.5 ms (3M parameters, context 300) and 77
    instead of 95 ms (135M, context 500) on a CPU with AVX-512 BF16.
    """
    fast = (
        not uses_gpu(spec)
        and _head_width(pointer) % 32 == 0
        and b"AVX512_BF16 = 1" in llama_cpp.llama_print_system_info()
    )
    automatic = ("q8_0", "bf16") if fast else ("f16", "f16")
    return (
        automatic[0] if spec.kv_type_k == "auto" else spec.kv_type_k,
        automatic[1] if spec.kv_type_v == "auto" else spec.kv_type_v,
    )


def _head_width(pointer: Any) -> int:
    return int(llama_cpp.llama_model_n_embd(pointer) // max(llama_cpp.llama_model_n_head(pointer), 1))


def _devices(names: str) -> Any | None:
    """A NULL-ended array of ggml devices, or None for all there are."""
    if not names:
        return None
    wanted = [] if names == "none" else [_registry_name(name) for name in names.split(",")]
    lookup = ggml.libggml.ggml_backend_dev_by_name
    lookup.argtypes, lookup.restype = [ctypes.c_char_p], ctypes.c_void_p
    found = [lookup(name.encode()) for name in wanted]
    if None in found:
        missing = wanted[found.index(None)]
        raise SpecError(f"there is no device {missing!r}; this build of llama.cpp has {', '.join(_known_devices())}")
    return (ctypes.c_void_p * (len(found) + 1))(*found, None)


def _registry_name(name: str) -> str:
    """ggml's name of a device: `cuda:0` is `CUDA0`; the CPU has no number."""
    kind, _, number = name.strip().partition(":")
    return f"{kind.upper()}{number}" if number else name.strip()


def _known_devices() -> list[str]:
    library = ggml.libggml
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes, library.ggml_backend_dev_get.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.ggml_backend_dev_name.argtypes, library.ggml_backend_dev_name.restype = [ctypes.c_void_p], ctypes.c_char_p
    count = library.ggml_backend_dev_count()
    return [library.ggml_backend_dev_name(library.ggml_backend_dev_get(i)).decode() for i in range(count)]
