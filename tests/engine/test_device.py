"""Settings reach llama.cpp as they are, and `auto` is resolved in one place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import llama_cpp
import pytest
import structlog
from msgspec.structs import replace

from aios_actors.engine import device
from aios_actors.engine.gguf import GgufHeader
from aios_actors.engine.model import LoadError, Model
from aios_actors.engine.spec import WorkerSpec

MakeModel = Callable[..., Model]
HEADER = GgufHeader(3, {}, {}, tensor_bytes=1 << 20, fingerprint="")


def params(model: Model, **settings: object) -> object:
    return device.context_params(WorkerSpec(model_path="x", **settings), model.pointer)  # type: ignore[arg-type]


def test_the_defaults_on_a_cpu(model: Model) -> None:
    resolved = params(model)
    assert (resolved.n_seq_max, resolved.n_ctx) == (24, 24 * 1024)  # type: ignore[attr-defined]
    assert (resolved.kv_unified, resolved.flash_attn_type) == (False, 0)  # type: ignore[attr-defined]
    assert resolved.n_threads == resolved.n_threads_batch == 1, "one thread for so small a model"  # type: ignore[attr-defined]
    # Heads of 16 values fit no q8_0 block, so the tiny model keeps f16.
    assert device.kv_types(WorkerSpec(model_path="x"), model.pointer) == ("f16", "f16")


def test_what_is_set_is_passed_on(model: Model) -> None:
    resolved = params(
        model, context=300, sequences=3, batch=64, ubatch=16, threads=5, threads_batch=7, kv_unified=True,
        flash_attention="on", kv_type_k="bf16", kv_type_v="f32", kv_offload=False, op_offload=False,
    )  # fmt: skip
    expected = {
        "n_ctx": 3 * 512, "n_seq_max": 12, "n_batch": 64, "n_ubatch": 16, "n_threads": 5, "n_threads_batch": 7,
        "kv_unified": True, "flash_attn_type": 1, "type_k": 30, "type_v": 0, "offload_kqv": False, "op_offload": False,
    }  # fmt: skip
    assert {name: getattr(resolved, name) for name in expected} == expected


@pytest.mark.parametrize(("split", "number"), [("none", 0), ("layer", 1), ("row", 2), ("tensor", 3)])
def test_how_a_model_is_spread_over_devices_is_passed_on(split: str, number: int) -> None:
    spec = WorkerSpec(
        model_path="x", gpu_layers=7, split=split, tensor_split=(3.0, 1.0), main_gpu=1, device="CPU",
        mmap=False, mlock=True,
    )  # type: ignore[arg-type]  # fmt: skip
    resolved, keep = device.model_params(spec, HEADER, llama_cpp.llama_progress_callback(lambda done, data: True))
    assert (resolved.n_gpu_layers, resolved.split_mode, resolved.main_gpu) == (7, number, 1)
    assert [resolved.tensor_split[i] for i in range(2)] == [3.0, 1.0]
    devices = ctypes.cast(resolved.devices, ctypes.POINTER(ctypes.c_void_p))
    assert devices[0] is not None and devices[1] is None, "one device, and the end of the list"
    assert resolved.load_mode == 2
    assert len(keep) == 3


def test_a_batch_holds_at_least_a_token_of_each_sequence(model: Model) -> None:
    resolved = params(model, sequences=40, batch=8)
    assert resolved.n_batch == 40  # type: ignore[attr-defined]


def test_quantised_values_turn_flash_attention_on(model: Model) -> None:
    assert params(model, kv_type_v="q8_0").flash_attn_type == 1  # type: ignore[attr-defined]
    with pytest.raises(device.SpecError, match="kv_type_v 'q8_0' needs flash attention"):
        params(model, kv_type_v="q8_0", flash_attention="off")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "cuda:7"}, "no device 'CUDA7'; this build of llama.cpp has .*CPU"),
        ({"tensor_split": (1.0,) * 1000}, "tensor_split has 1000 parts"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(make_model: MakeModel, settings: dict[str, object], words: str) -> None:
    with pytest.raises(LoadError, match=words) as caught:
        make_model(**settings)
    assert caught.value.code == "bad_spec"


@pytest.mark.parametrize(
    ("mmap", "mlock", "mode"),
    [(True, False, 1), (False, False, 0), (False, True, 2), (True, True, 3), (None, False, 0), (None, True, 2)],
)
def test_how_weights_are_read(mmap: bool | None, mlock: bool, mode: int) -> None:
    spec = WorkerSpec(model_path="x", mmap=mmap, mlock=mlock)
    resolved, _ = device.model_params(spec, HEADER, llama_cpp.llama_progress_callback(lambda done, data: True))
    assert resolved.load_mode == mode


def test_weights_for_a_gpu_and_large_ones_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(HEADER, tensor_bytes=1 << 60)
    assert device.uses_mmap(WorkerSpec(model_path="x"), large)
    assert not device.uses_mmap(WorkerSpec(model_path="x", mmap=False), large)
    assert not device.uses_mmap(WorkerSpec(model_path="x"), HEADER)
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    assert device.uses_mmap(WorkerSpec(model_path="x", gpu_layers=-1), HEADER)
    assert not device.uses_mmap(WorkerSpec(model_path="x", gpu_layers=-1, mmap=False), HEADER)


@pytest.mark.skipif(llama_cpp.llama_supports_gpu_offload(), reason="this build has GPU support")
def test_layers_for_a_gpu_that_the_build_cannot_use_are_not_dropped_in_silence(make_model: MakeModel) -> None:
    with structlog.testing.capture_logs() as lines:
        assert make_model(gpu_layers=-1, name="mine").info("hermes").gpu_layers == 0
    (line,) = [line for line in lines if "gpu_layers" in line["event"]]
    assert line["model"] == "mine" and "--wheels cuda" in line["remedy"]
