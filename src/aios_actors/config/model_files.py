"""Checks of model files before any worker starts: that they are GGUFs, and that their contexts fit in memory.

Contract: looks at files that are on this machine and downloads nothing; a model of the Hub is checked once it is here.
The memory estimate is the weights, once for each file that workers map and for each worker that reads it, and the KV
cache of each worker. Workers on a GPU are not estimated: llama.cpp itself knows what is free there, and fails with a
message.
"""

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from aios_actors.config.structs import ModelConfig, WorkerConfig
from aios_actors.engine.gguf import GgufHeader, NotGguf, read_header
from aios_actors.engine.machine import available_memory
from aios_actors.engine.weights import maps_weights
from aios_actors.engine.width import cpu_sequences, places

LONGEST_DEFAULT_CONTEXT = 8192
# What a process needs beside weights and KV cache: the interpreter, and the compute buffers of a 512-token batch.
PROCESS_BYTES = 200 << 20


def local_path(model: ModelConfig, folder: Path) -> Path | None:
    """Where a model's GGUF lies; None if it comes from the Hub.

    Args:
        model: its config.
        folder: the config's folder, which `path` is relative to.
    """
    if model.source == "embedded":
        return Path(str(resources.files("aios_actors") / "nano" / "nano.gguf"))
    return folder / Path(model.path).expanduser() if model.path else None


def file_problem(path: Path) -> str:
    """Why a file cannot be a model; "" if it can."""
    if path.is_dir():
        return f"{path} is a folder; name the .gguf file in it"
    if not path.exists():
        return f"there is no file {path}"
    try:
        read_header(path)
    except NotGguf as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return ""


def adapter_problem(path: Path) -> str:
    """Why a file cannot be a LoRA adapter; "" if it can."""
    if problem := file_problem(path):
        return problem
    if read_header(path).metadata.get("general.type") != "adapter":
        return f"{path} is a model, not a LoRA adapter; convert one with llama.cpp's convert_lora_to_gguf.py"
    return ""


def memory_problems(
    models: Mapping[str, ModelConfig],
    workers: tuple[WorkerConfig, ...],
    paths: Mapping[str, Path],
    available: int | None = None,
) -> Iterator[tuple[str, str]]:
    """What does not fit in memory: pairs of a model's name and what to do about its context.

    Args:
        models: all models by name.
        workers: those that will run.
        paths: GGUFs that are here and readable, by model name; workers of other models are left out.
        available: bytes that are free; None asks the operating system.
    """
    left = available_memory() if available is None else available
    mapped: set[Path] = set()
    for worker in workers:
        path = paths.get(worker.model)
        if path is None or worker.gpu_layers != 0 or worker.device:
            continue
        header = read_header(path)
        copies = worker.count
        if maps_weights(worker.mmap, header):
            copies = int(path not in mapped)
            mapped.add(path)
        fixed = copies * header.tensor_bytes + worker.count * PROCESS_BYTES
        needed = fixed + worker.count * _cache_bytes(header, models[worker.model], worker)
        if needed > left:
            yield worker.model, _too_large(header, models[worker.model], worker, needed, fixed, left)
        left -= min(needed, left)


def _context(header: GgufHeader, model: ModelConfig) -> int:
    return model.context or min(header.context_length or LONGEST_DEFAULT_CONTEXT, LONGEST_DEFAULT_CONTEXT)


def _sequences(header: GgufHeader, model: ModelConfig, worker: WorkerConfig) -> int:
    return worker.sequences or cpu_sequences(header.kv_bytes(_context(header, model), 1))


def _cells(header: GgufHeader, model: ModelConfig, worker: WorkerConfig) -> int:
    """Tokens that the KV cache of one worker holds."""
    context, sequences = _context(header, model), _sequences(header, model, worker)
    return min(worker.cells, context * places(sequences)) if worker.cells else context * sequences


def _cache_bytes(header: GgufHeader, model: ModelConfig, worker: WorkerConfig) -> int:
    return header.kv_bytes(_cells(header, model, worker), 1, worker.kv_type, worker.kv_type)


def _too_large(header: GgufHeader, model: ModelConfig, worker: WorkerConfig, needed: int, fixed: int, left: int) -> str:
    sequences, cells = _sequences(header, model, worker), _cells(header, model, worker)
    shared = worker.cells > 0
    per_cell = worker.count * header.kv_bytes(1, 1, worker.kv_type, worker.kv_type)
    fitting = max(left - fixed, 0) // max(per_cell, 1)
    text = (
        (f"{cells} cells" if shared else f"{_context(header, model)} tokens for each of {sequences} sequences")
        + (f" on {worker.count} workers" if worker.count > 1 else "")
        + f" need {_gib(needed)} with the weights, and {_gib(left)} are free"
    )
    if shared and fitting >= 256:
        return f"{text}; use at most {fitting // 256 * 256} cells, or a smaller kv_type"
    if fitting // sequences < 256:
        return f"{text}; use a smaller model, fewer workers or fewer sequences"
    return (
        f"{text}; use a context of at most {fitting // sequences // 256 * 256}, fewer sequences, or a smaller kv_type"
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
