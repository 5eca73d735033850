"""What a worker is started with, and what it says of the model that it loaded.

Contract: plain frozen Structs; every llama.cpp setting that a user may turn is a field of `WorkerSpec` and reaches
llama.cpp unchanged. `auto` and 0 mean that the worker decides; `ModelInfo` shows what it decided.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

KvType = Literal["auto", "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Speculate = Literal["auto", "on", "off"]
Pooling = Literal["auto", "none", "mean", "cls", "last"]
NonNegative = Annotated[int, Meta(ge=0)]


class WorkerSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The settings of one worker: one model, one llama.cpp context.

    `context` is in tokens for one sequence (0: the model's training length, at most 8,192). `sequences` is how many
    generations run at once (0: 24 on the CPU, or 16 or 8 where those would need a quarter of the memory, and 32 on a
    GPU); where they share their cells, four times as many conversations have a place there. `cells` is how many tokens
    all of them together may have in the KV cache (0: enough for as many as run, each at full length); where it is given
    the cache is unified, and requests make way for each other when it is full. `batch` is the most tokens in one decode
    call, `ubatch` the most that llama.cpp computes at once. `threads` 0: one for each CPU that this process may use,
    fewer while others use them, and one for a model so small that a second does not pay. `gpu_layers` -1: all.
    `device`: a llama.cpp device (`CUDA0`, `cuda:0`, `Metal`, `none`), or several with commas; empty: all there are.
    `split` and `tensor_split` say how several devices share the layers; `main_gpu` holds what is not shared. `mmap`
    None: on the CPU weights that take at most an eighth of the machine's memory are read into memory of the worker's
    own, all others are mapped from the file. `kv_offload` puts the KV cache on the GPU, `op_offload` large operations
    on weights that are not there. `flash_attention` other than off: on the CPU our own kernel, where it can be compiled
    and takes the model (`attention.py`), and auto on a GPU llama.cpp's choice; else off, as llama.cpp's halves decoding
    on a CPU. `kv_unified` None: sequences share their cells with our kernel and on a GPU, else each has its own and
    scans no others. `kv_type_k` and `kv_type_v` auto: f16, or without our kernel q8_0 keys and bf16 values on a CPU
    with bf16 instructions, which llama.cpp's attention reads 1.2 to 5 times as fast. `host_memory` is the budget in
    bytes for KV pages of parked conversations, `disk_memory` that for pages which found no room there; they lie in an
    unnamed file in `disk_folder` (empty: the system's folder for temporary files). `speculate`: prompt-lookup drafts as
    long as they pay (auto), always (on) or never. `adapters` are LoRA files by name. `pooling` makes embeddings of
    token vectors; auto is what the model's metadata name, if they do. `device_sampling`: greedy requests without
    constraint, penalties, bias and log probabilities have their tokens chosen where the logits are.
    """

    model_path: str
    name: str = ""
    context: NonNegative = 0
    sequences: Annotated[int, Meta(ge=0, le=256)] = 0
    cells: NonNegative = 0
    batch: Annotated[int, Meta(ge=1)] = 512
    ubatch: NonNegative = 0
    threads: NonNegative = 0
    threads_batch: NonNegative = 0
    gpu_layers: Annotated[int, Meta(ge=-1)] = 0
    device: str = ""
    split: Literal["none", "layer", "row", "tensor"] = "layer"
    tensor_split: tuple[float, ...] = ()
    main_gpu: NonNegative = 0
    kv_type_k: KvType = "auto"
    kv_type_v: KvType = "auto"
    kv_unified: bool | None = None
    kv_offload: bool = True
    op_offload: bool = True
    flash_attention: Literal["auto", "on", "off"] = "auto"
    mmap: bool | None = None
    mlock: bool = False
    chat_template: str = ""
    host_memory: NonNegative = 1 << 30
    disk_memory: NonNegative = 4 << 30
    disk_folder: str = ""
    speculate: Speculate = "auto"
    adapters: dict[str, str] = {}
    pooling: Pooling = "auto"
    device_sampling: bool = False


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """The loaded model and the settings in force.

    `digest` identifies weights and KV layout: KV pages and routing by prefix are bound to it. `context` is in tokens a
    sequence, `cells` what the KV cache holds of all. `own_attention`: our kernel computes it, on the CPU. `family` is
    the template family that renders and parses tool calls (`hermes`, `llama3`, ...). `adapters` are the names that
    requests may choose from.
    """

    name: str
    architecture: str
    digest: str
    vocabulary: int
    parameters: int
    bytes: int
    context: int
    context_train: int
    sequences: int
    cells: int
    batch: int
    threads: int
    gpu_layers: int
    kv_unified: bool
    flash_attention: str
    own_attention: bool
    kv_type_k: str
    kv_type_v: str
    mmap: bool
    kv_bytes_per_token: int
    family: str
    eog_tokens: tuple[int, ...]
    bos_token: int | None = None
    has_template: bool = True
    adapters: tuple[str, ...] = ()
