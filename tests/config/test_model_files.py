"""The memory estimate of models on the CPU, with the free memory given."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from aios_actors.config.model_files import PROCESS_BYTES, memory_problems
from aios_actors.config.structs import ModelConfig, WorkerConfig
from aios_actors.engine.gguf import read_header
from tests.config.project import Project

MIB = 1 << 20


def problems(path: Path, workers: list[WorkerConfig], available: int, context: int = 1024) -> list[tuple[str, str]]:
    models = {"m": ModelConfig(path=str(path), context=context)}
    return list(memory_problems(models, tuple(workers), {"m": path}, available))


def test_what_fits_exactly_is_no_problem(project: Project) -> None:
    path = project.gguf(weights=MIB)
    header = read_header(path)
    needed = header.tensor_bytes + header.kv_bytes(1024, 24) + PROCESS_BYTES
    assert problems(path, [WorkerConfig(model="m")], needed) == []
    ((name, message),) = problems(path, [WorkerConfig(model="m")], needed - 1)
    assert name == "m"
    assert message.startswith(
        "1024 tokens for each of 24 sequences need 0.4 GiB with the weights, and 0.4 GiB are free"
    )
    assert "use a context of at most 768" in message


@pytest.mark.parametrize(("mmap", "copies"), [(True, 1), (False, 3), (None, 3)])
def test_workers_share_mapped_weights_and_add_up_their_caches(project: Project, mmap: bool | None, copies: int) -> None:
    path = project.gguf(weights=MIB)
    header = read_header(path)
    cache = header.kv_bytes(1024, 4) + PROCESS_BYTES
    one = WorkerConfig(model="m", sequences=4, mmap=mmap)
    workers = [one, replace(one, count=2)]
    assert problems(path, workers, copies * header.tensor_bytes + 3 * cache) == []
    assert len(problems(path, workers, copies * header.tensor_bytes + 3 * cache - 1)) == 1


def test_weights_that_are_large_beside_the_memory_are_mapped(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.gguf(weights=MIB)
    header = read_header(path)
    monkeypatch.setattr("aios_actors.engine.weights.memory_bytes", lambda: 8 * header.tensor_bytes - 1)
    worker = WorkerConfig(model="m", sequences=4, count=2)
    needed = header.tensor_bytes + 2 * (header.kv_bytes(1024, 4) + PROCESS_BYTES)
    assert problems(path, [worker], needed) == []
    assert len(problems(path, [worker], needed - 1)) == 1


def test_shared_cells_count_once_for_all_sequences(project: Project) -> None:
    path = project.gguf(weights=MIB)
    header = read_header(path)
    needed = header.tensor_bytes + header.kv_bytes(2048, 1) + PROCESS_BYTES
    assert problems(path, [WorkerConfig(model="m", cells=2048)], needed) == []
    ((_, message),) = problems(path, [WorkerConfig(model="m", cells=2048)], needed - 1)
    assert message.startswith("2048 cells need") and "use at most 1792 cells" in message


def test_no_more_cells_count_than_all_places_can_fill(project: Project) -> None:
    path = project.gguf(weights=0)
    header = read_header(path)
    worker = WorkerConfig(model="m", sequences=2, cells=1 << 30)
    needed = header.tensor_bytes + header.kv_bytes(1024, 8) + PROCESS_BYTES
    assert problems(path, [worker], needed) == []
    assert len(problems(path, [worker], needed - 1)) == 1


def test_a_smaller_kv_type_needs_less(project: Project) -> None:
    path = project.gguf(weights=0)
    header = read_header(path)
    available = header.kv_bytes(1024, 24, "q8_0", "q8_0") + header.tensor_bytes + PROCESS_BYTES
    assert problems(path, [WorkerConfig(model="m", kv_type="q8_0")], available) == []
    assert len(problems(path, [WorkerConfig(model="m")], available)) == 1


def test_without_a_context_the_trained_one_counts_up_to_8192(project: Project) -> None:
    path = project.gguf(context=100_000)
    ((_, message),) = problems(path, [WorkerConfig(model="m")], 0, context=0)
    assert message.startswith("8192 tokens")
    assert message.endswith("use a smaller model, fewer workers or fewer sequences")


def test_gpu_workers_are_left_to_llama_cpp(project: Project) -> None:
    path = project.gguf()
    assert problems(path, [WorkerConfig(model="m", gpu_layers=-1), WorkerConfig(model="m", device="CUDA0")], 0) == []
