"""Our attention kernel: against attention by its definition, and against llama.cpp's own on a real model."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.engine import attention
from aios_actors.engine.attention import BuildError, Kernel
from aios_actors.engine.batch import Batch
from aios_actors.engine.embed import Embedder
from aios_actors.engine.model import Model, load
from aios_actors.engine.protocol import Embed
from aios_actors.engine.spec import WorkerSpec
from tests.engine.encoder import CONTEXT, write_encoder
from tests.engine.test_embed import finish

MakeModel = Callable[..., Model]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
DONE, ABORTED = 0, 1  # `Outcome` of kernel.h


# What this CPU has, and what others have: the second without products of bf16 numbers, the third with AVX2 alone.
VARIANTS = {"this CPU": (), "no bf16": ("-mno-avx512bf16",), "AVX2": ("-mno-avx512f",)}


def compiled(*flags: str) -> Path | None:
    try:
        return attention.build(flags=flags)
    except BuildError:
        return None


pytestmark = pytest.mark.skipif(compiled() is None, reason="there is no C compiler")


@pytest.fixture(params=VARIANTS, scope="module")
def kernel(request: pytest.FixtureRequest) -> ctypes.CDLL:
    path = compiled(*VARIANTS[request.param])
    if path is None:
        pytest.skip("the compiler makes no such code")
    return Kernel(path).library


class View(ctypes.Structure):
    """`View` of kernel.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("row", ctypes.c_size_t),
        ("head", ctypes.c_size_t),
        ("stream", ctypes.c_size_t),
    ]


class Attention(ctypes.Structure):
    """`Attention` of kernel.h."""

    _fields_ = [
        *((name, View) for name in ("queries", "out", "keys", "values")),
        *((name, ctypes.c_int) for name in ("rows", "streams", "heads", "kv_heads", "key_width", "value_width")),
        ("scale", ctypes.c_float), ("cap", ctypes.c_float), ("sinks", ctypes.c_void_p),
        ("aborted", ctypes.c_void_p), ("abort_data", ctypes.c_void_p),
    ]  # fmt: skip


class Mask(ctypes.Structure):
    """`Mask` of plan.h."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("streams", ctypes.c_int), ("rows", ctypes.c_int), ("cells", ctypes.c_int64),
        ("stream_bytes", ctypes.c_size_t), ("row_bytes", ctypes.c_size_t),
    ]  # fmt: skip


def view(array: npt.NDArray[np.generic]) -> View:
    """Of an array of shape (streams, rows, heads, width)."""
    return View(array.ctypes.data, array.strides[1], array.strides[2], array.strides[0])


class Case(NamedTuple):
    """Queries (streams, rows, heads, width), keys and values (streams, cells, KV heads, width), who sees what."""

    q: Floats
    k: Halves
    v: Halves
    seen: npt.NDArray[np.bool_]
    cap: float = 0.0
    sinks: Floats | None = None


def drawn(seed: int, seen: npt.NDArray[np.bool_], kv_heads: int, group: int, width: int, **more: object) -> Case:
    """A case with random numbers."""
    rng = np.random.default_rng(seed)
    streams, rows, cells = seen.shape
    q = rng.normal(size=(streams, rows, kv_heads * group, width)).astype(np.float32) * 2
    k, v = (rng.normal(size=(streams, cells, kv_heads, width)).astype(np.float16) for _ in range(2))
    return Case(q, k, v, seen, **more)  # type: ignore[arg-type]


def run(kernel: ctypes.CDLL, case: Case, threads: int = 1, aborted: object = None) -> tuple[int, Floats]:
    """What the kernel says and what it computes."""
    q, k, v, seen, cap, sinks = case
    mask = np.where(seen, 0, -np.inf).astype(np.float16)
    out = np.full((*q.shape[:3], v.shape[3]), np.nan, np.float32)
    call = Attention(
        view(q), view(out), view(k), view(v), q.shape[1], q.shape[0], q.shape[2], k.shape[2], q.shape[3], v.shape[3],
        q.shape[3] ** -0.5, cap, None if sinks is None else sinks.ctypes.data, ctypes.cast(aborted, ctypes.c_void_p),
    )  # fmt: skip
    streams = mask.strides[0] if len(mask) > 1 else 0
    seen_as_told = Mask(mask.ctypes.data, q.shape[0], q.shape[1], k.shape[1], streams, mask.strides[1])
    return kernel.aios_attention(ctypes.byref(call), ctypes.byref(seen_as_told), threads), out


def by_kernel(kernel: ctypes.CDLL, case: Case, threads: int = 1) -> Floats:
    outcome, out = run(kernel, case, threads)
    assert outcome == DONE
    return out


def as_bf16(x: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Rounded to the eight bits that bf16 has."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def by_definition(case: Case, *, bf16: bool = False) -> npt.NDArray[np.float64]:
    """The same in double precision, of rounded factors; a row that sees nothing gets zeros."""
    q, k, v, seen, cap, sinks = case
    group, scale = q.shape[2] // k.shape[2], q.shape[3] ** -0.5 / (cap or 1.0)
    scaled = q * np.float32(scale)
    queries, keys, values = (as_bf16(x) if bf16 else x.astype(np.float64) for x in (scaled, k, v))
    keys, values = (np.repeat(x, group, axis=2) for x in (keys, values))
    scores = np.einsum("srhw,schw->srhc", queries, keys)
    if cap:
        scores = cap * np.tanh(scores)
    scores = np.where(seen[:, :, None, :], scores, -np.inf)
    sink = np.full(q.shape[2], -np.inf) if sinks is None else sinks.astype(np.float64)
    most = np.maximum(scores.max(axis=3), sink)
    with np.errstate(invalid="ignore"):
        weights = np.nan_to_num(np.exp(scores - most[..., None]))
        total = weights.sum(axis=3) + np.nan_to_num(np.exp(sink - most))
    return np.einsum("srhc,schw->srhw", weights / np.maximum(total, 1e-300)[..., None], values)


def check(kernel: ctypes.CDLL, case: Case, threads: int = 1) -> None:
    """Both are the same, up to the rounding of floats; with bf16 factors up to that of the weights, too."""
    bf16 = kernel.aios_attention_factors() == 2
    off = 2.0**-8 * float(np.abs(case.v.astype(np.float32)).max()) if bf16 else 3e-5
    np.testing.assert_allclose(by_kernel(kernel, case, threads), by_definition(case, bf16=bf16), atol=off, rtol=3e-5)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_it_is_attention_by_its_definition_for_any_mask(kernel: ctypes.CDLL, data: st.DataObject) -> None:
    def whole(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    seed = whole(0, 2**32)
    rng = np.random.default_rng(seed)
    streams, rows, cells, kv_heads, group = whole(1, 3), whole(1, 70), whole(1, 400), whole(1, 3), whole(1, 5)
    # Prefixes that groups of rows share, cells of single rows, and noise: agents, their turns and anything else.
    owner = rng.integers(0, 1 + whole(0, 4), rows)
    prefix = rng.integers(0, cells + 1, owner.max() + 1)
    seen = np.broadcast_to(np.arange(cells) < prefix[owner][:, None], (streams, rows, cells)).copy()
    seen |= rng.random((streams, rows, cells)) < data.draw(st.sampled_from([0.0, 0.02, 0.5]))
    sinks = rng.normal(size=kv_heads * group).astype(np.float32) if data.draw(st.booleans()) else None
    cap = data.draw(st.sampled_from([0.0, 5.0]))
    check(kernel, drawn(seed, seen, kv_heads, group, 16 * whole(1, 6), cap=cap, sinks=sinks), threads=whole(1, 3))


def causal(rows: int, cells: int) -> npt.NDArray[np.bool_]:
    """The last rows of a prompt, in one stream."""
    return np.tril(np.ones((rows, cells), bool), cells - rows)[None]


@pytest.mark.parametrize("width", [16, 48, 64, 80, 128, 256])
def test_heads_of_any_width_that_it_takes(kernel: ctypes.CDLL, width: int) -> None:
    check(kernel, drawn(width, causal(5, 300), 2, 4, width))


@pytest.mark.parametrize("group", [1, 7, 48, 64])
def test_groups_of_query_heads_up_to_all_columns(kernel: ctypes.CDLL, group: int) -> None:
    check(kernel, drawn(group, causal(9, 200), 1, group, 32))


def test_scores_far_apart_neither_overflow_nor_vanish(kernel: ctypes.CDLL) -> None:
    case = drawn(1, np.ones((1, 2, 200), bool), 1, 1, 16)
    case.q[:] *= 200
    case.k[0, 150] *= 30
    check(kernel, case)


def test_what_a_row_does_not_see_does_not_count_whatever_it_is(kernel: ctypes.CDLL) -> None:
    seen = np.zeros((1, 3, 131), bool)
    seen[0, 0, :101] = seen[0, 1, :71] = True
    case = drawn(2, seen, 1, 2, 16)
    want = by_kernel(kernel, case)
    case.k[0, 101:], case.v[0, 101:] = np.nan, np.inf
    np.testing.assert_array_equal(by_kernel(kernel, case), want)
    assert not want[0, 2].any(), "it sees nothing"


def test_it_stops_between_units_when_it_is_told_to(kernel: ctypes.CDLL) -> None:
    asked = []
    stop = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(lambda _: bool(asked.append(1) or len(asked) > 2))
    outcome, _ = run(kernel, drawn(3, causal(40, 400), 2, 2, 32), aborted=stop)
    assert (outcome, len(asked)) == (ABORTED, 3)


def decoded(model: Model) -> Floats:
    """Logits of three sequences that share a prefix, go on together and leave one behind."""
    prefix, batch, rows = [7 + i * 13 % 200 for i in range(90)], Batch(model.batch), []
    batch.add(0, prefix, 0, outputs=1)
    assert model.decode(batch.raw) == 0
    rows.append(model.logits(1).copy())
    for sequence in (1, 2):
        model.copy(0, sequence, 80)
    lengths = [90, 80, 80]
    for step, shares in enumerate([(1, 30, 1), (1, 1, 1), (1, 1, 1), (0, 1, 17), (1, 1, 1)]):
        batch.clear()
        for sequence, share in enumerate(shares):
            if share:
                tokens = [3 + step + sequence + i for i in range(share)]
                batch.add(sequence, tokens, lengths[sequence], outputs=1)
                lengths[sequence] += share
        assert model.decode(batch.raw) == 0
        rows.append(model.logits(batch.outputs).copy())
    return np.concatenate(rows)


def test_a_model_computes_as_exactly_with_it_as_with_llama_cpps_attention(make_model: MakeModel) -> None:
    own, theirs = make_model(), make_model(flash_attention="off")
    assert own.own_attention and not theirs.own_attention
    # llama.cpp rounds whatever it multiplies with the quantised weights to eight bits, so logits differ by 0.01.
    exact = decoded(make_model(kv_type_k="f32", kv_type_v="f32"))
    off, their_off = (np.abs(decoded(model) - exact) for model in (own, theirs))
    assert off.mean() < 1.25 * their_off.mean() and off.max() < 0.15


def test_what_it_computes_does_not_depend_on_where_the_cells_are(make_model: MakeModel) -> None:
    np.testing.assert_array_equal(decoded(make_model(kv_unified=True)), decoded(make_model(kv_unified=False)))


def test_by_default_it_is_at_work_and_sequences_share_their_cells(make_model: MakeModel) -> None:
    info = make_model().info("hermes")
    assert (info.own_attention, info.kv_unified, info.flash_attention) == (True, True, "on")
    assert (info.kv_type_k, info.kv_type_v) == ("f16", "f16")


@pytest.mark.parametrize(
    "spec", [{"flash_attention": "off"}, {"kv_type_k": "f32", "kv_type_v": "f32"}, {"kv_type_v": "bf16"}]
)
def test_settings_that_it_is_not_made_for_are_llama_cpps_own(make_model: MakeModel, spec: dict[str, str]) -> None:
    assert not attention.suits(WorkerSpec(model_path="x", **spec))  # type: ignore[arg-type]
    info = make_model(**spec).info("hermes")
    assert (info.own_attention, info.kv_unified) == (False, False)


def test_a_context_whose_attention_it_refuses_is_made_without_it(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kernel, "took_all", lambda self: False)
    info = make_model().info("hermes")
    assert (info.own_attention, info.kv_unified, info.flash_attention) == (False, False, "off")
    assert len(decoded(make_model())) == 15


def test_without_a_compiler_llama_cpp_computes_and_the_log_says_why(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        assert not make_model().info("hermes").own_attention
    assert [line["reason"] for line in lines if "reason" in line] == ["there is no C compiler"]


def test_a_kernel_with_another_openmp_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """libgomp's threads are llama.cpp's; clang's libomp would start as many beside them."""
    monkeypatch.setattr(attention, "_openmp_runtimes", lambda: {"libgomp", "libomp"})
    with structlog.testing.capture_logs() as lines:
        assert attention.offer() is None
    assert [line["loaded"] for line in lines if "loaded" in line] == ["libgomp and libomp"]


def test_a_compiler_that_fails_is_named_with_its_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "mycc"
    compiler.write_text("#!/bin/sh\necho 'kernel.c:1: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(BuildError, match=r"mycc failed: kernel.c:1: error: no such thing"):
        attention.build(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == [], "nothing half made is left"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match=r"cannot write to .*file"):
        attention.build(tmp_path / "file")


def test_it_is_compiled_once(tmp_path: Path) -> None:
    first = attention.build(tmp_path)
    made = first.stat().st_mtime_ns
    assert attention.build(tmp_path) == first and first.stat().st_mtime_ns == made
    assert list(tmp_path.iterdir()) == [first]


def test_the_command_says_where_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aios_actors.engine.attention"]
    done = subprocess.run(
        command, env={"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split(": ")[0]) == (0, "attention kernel")
    assert Path(done.stdout.split(": ")[1].strip()).parent == tmp_path / "aios_actors"


def test_this_ggml_has_the_layout_that_it_knows() -> None:
    assert attention.offer() is not None
    assert llama_cpp.llama_cpp._lib.ggml_backend_dev_by_name(b"AIOS") is not None


def test_an_encoder_embeds_the_same_with_it(tmp_path: Path) -> None:
    write_encoder(tmp_path / "encoder.gguf")
    found = []
    for flash in ("auto", "off"):
        spec = WorkerSpec(model_path=str(tmp_path / "encoder.gguf"), context=CONTEXT, threads=2, flash_attention=flash)
        model = load(spec)  # type: ignore[arg-type]
        embedder = Embedder(model)
        embedder.submit(Embed(1, tuple(f"number {i} of some texts " * i for i in range(1, 9))))
        done = next(iter(finish(embedder).values()))
        found.append(np.array([np.frombuffer(vector, "<f4") for vector in done.vectors]))
        embedder.close()
        model.close()
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)
