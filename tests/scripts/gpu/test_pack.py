"""Packing for a GPU machine: what is in the file, that it stays small, and what the run there does."""

import importlib.metadata
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.bench.make_model import SHAPES
from scripts.gpu import pack
from scripts.gpu.run import BENCHES, Run

SOURCES = {
    "pyproject.toml": True,
    "llama_cpp/llama_cpp.py": True,
    "vendor/llama.cpp/CMakeLists.txt": True,
    "vendor/llama.cpp/ggml/src/ggml.c": True,
    "vendor/llama.cpp/tools/batched-bench/batched-bench.cpp": True,
    f"vendor/llama.cpp/ggml/src/ggml-cuda/template-instances/{'long-' * 20}.cu": True,
    "vendor/llama.cpp/examples/CMakeLists.txt": True,
    ".git/modules/vendor/llama.cpp/pack": False,
    "vendor/llama.cpp/.git": False,
    "vendor/llama.cpp/docs/ops/x.csv": False,
    "vendor/llama.cpp/models/ggml-vocab.gguf": False,
    "vendor/llama.cpp/tests/test.cpp": False,
    "vendor/llama.cpp/tools/ui/index.html": False,
    "vendor/llama.cpp/tools/ui/src/ui.ts": False,
    "vendor/llama.cpp/tools/ui/CMakeLists.txt": True,
    "vendor/llama.cpp/tools/ui/ui.cpp.in": True,
}


def sources(folder: Path, names: dict[str, bool] = SOURCES) -> Path:
    """A source archive as the index has it."""
    path = folder / "llama_cpp_python-1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"llama_cpp_python-1/{name}")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return path


def wheel(path: Path) -> bytes:
    """A compressed wheel; returns what is in it."""
    content = b"the same again " * 2000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("package/module.py", content)
    return content


def download(folder: Path, python: str) -> Path:
    assert python == "3.11"
    wheel(folder / "package-1-py3-none-any.whl")
    return sources(folder.parent)


def test_the_file_has_the_project_the_wheels_and_the_sources_that_a_build_needs(tmp_path: Path) -> None:
    target = tmp_path / "build" / "packed.tar.xz"
    size = pack.pack(target, "3.11", download)
    assert size == target.stat().st_size < pack.LIMIT
    with tarfile.open(target) as tar:
        names = set(tar.getnames())
        text = tar.extractfile("aios-gpu/llama/pyproject.toml")
        assert text is not None and text.read() == b"pyproject.toml"
    assert {"aios-gpu/run.py", "aios-gpu/wheels/package-1-py3-none-any.whl"} <= names
    assert {
        f"aios-gpu/project/{name}" for name in ("src/aios_actors/engine/loop.py", "scripts/bench/decode.py")
    } <= names
    assert {name for name in SOURCES if f"aios-gpu/llama/{name}" in names} == {n for n, kept in SOURCES.items() if kept}
    assert not any("__pycache__" in name for name in names)


def test_a_stored_wheel_has_the_same_files(tmp_path: Path) -> None:
    path = tmp_path / "package-1-py3-none-any.whl"
    content = wheel(path)
    small = path.stat().st_size
    pack.store(path)
    assert path.stat().st_size > len(content) > small
    with zipfile.ZipFile(path) as stored:
        assert stored.testzip() is None and stored.read("package/module.py") == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_above_the_limit_is_refused_and_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "LIMIT", 1000)
    with pytest.raises(pack.PackFailed, match="it would be .* MB, and at most 0 are wanted"):
        pack.pack(tmp_path / "packed.tar.xz", "3.11", download)
    assert not list(tmp_path.iterdir())


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pack.PackFailed, match=r"is no source archive of llama-cpp-python"):
        pack.pack(tmp_path / "x.tar.xz", "3.11", lambda folder, python: sources(folder.parent, {"setup.py": True}))


def test_every_pinned_package_is_in_the_lock() -> None:
    lock = (pack.ROOT / "requirements.lock").read_text()
    assert all(pack._pin(lock, name).startswith(name) for name in pack.PINNED)
    with pytest.raises(pack.PackFailed, match="nothing is not in requirements.lock; run scripts/lock"):
        pack._pin(lock, "nothing")


def test_all_that_the_bindings_import_is_packed() -> None:
    needs = {need for need in importlib.metadata.requires("llama-cpp-python") or () if "extra ==" not in need}
    names = {re.split(r"[^\w-]", need, maxsplit=1)[0] for need in needs}
    assert names and names <= set(pack.PINNED)


@pytest.mark.parametrize(("cuda", "layers"), [(True, "-1"), (False, "0")])
def test_the_run_measures_each_shape_with_each_benchmark(tmp_path: Path, cuda: bool, layers: str) -> None:
    run = Run(tmp_path, cuda=cuda, jobs=2)
    shapes = ["1b", "8b"]
    assert set(shapes) <= set(SHAPES)
    commands = run.commands(shapes, list(BENCHES))
    assert len(commands) == 2 * len(BENCHES)
    for command in commands:
        assert command[command.index("--gpu-layers") + 1] == layers
    for command in commands[: len(BENCHES)]:  # they take what they are given
        options = [each for each in command if each.startswith("--")]
        done = subprocess.run([sys.executable, *command[:2], "--help"], capture_output=True, text=True, check=True)
        assert all(option in done.stdout for option in options), command


def test_the_run_needs_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-I", str(pack.ROOT / "scripts" / "gpu" / "run.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--shapes" in done.stdout
