"""The parts of the set-up that need no install: the lock, the stamp, what it shows."""

import ast
import io
import os
import sys
from pathlib import Path

import pytest

from scripts import bootstrap
from scripts.setup_progress import Progress

ROOT = Path(__file__).parents[2]
LOCK = """\
# made by a tool
anyio==4.16.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
llama-cpp-python==0.3.36 ; python_version >= "3.11" \\
    --hash=sha256:cc
msgspec==0.22.0
"""


def test_the_lock_is_cut_in_engine_and_others() -> None:
    others, engine = bootstrap.split_lock(LOCK)
    assert others == "anyio==4.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nmsgspec==0.22.0\n"
    assert engine == 'llama-cpp-python==0.3.36 ; python_version >= "3.11" \\\n    --hash=sha256:cc\n'


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_the_real_locks_are_cut_without_loss(name: str) -> None:
    text = (ROOT / name).read_text()
    others, engine = bootstrap.split_lock(text)
    assert engine.startswith("llama-cpp-python==") and "--hash=sha256:" in engine
    assert sorted((others + engine).splitlines()) == sorted(
        line for line in text.splitlines() if not line.startswith("#")
    )


def test_a_missing_compiler_is_told_before_the_build(tmp_path: Path) -> None:
    with pytest.raises(bootstrap.SetupFailed) as caught:
        bootstrap.require_compiler({"PATH": str(tmp_path)})
    assert "sudo apt install g++ cmake" in str(caught.value) and "--wheels cpu" in str(caught.value)
    with pytest.raises(bootstrap.SetupFailed, match="CXX=no-such-compiler is not there"):
        bootstrap.require_compiler({"PATH": os.environ["PATH"], "CXX": "no-such-compiler"})


def test_any_usual_compiler_will_do(tmp_path: Path) -> None:
    compiler = tmp_path / "clang++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    bootstrap.require_compiler({"PATH": str(tmp_path)})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"digest": "a"}', '{"digest": "a", "engine": "b", "x": 1}'])
def test_half_a_stamp_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "stamp").write_text(content)
    assert bootstrap.Stamp.read(tmp_path / "stamp") is None


def test_another_build_is_wanted_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    assert not bootstrap.engine_is_stale("built ", None)
    assert not bootstrap.engine_is_stale("https://host/cpu", None)
    assert bootstrap.engine_is_stale("built ", "https://host/cpu")
    assert not bootstrap.engine_is_stale("https://host/cpu", "https://host/cpu")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    assert bootstrap.engine_is_stale("built ", None)
    assert not bootstrap.engine_is_stale("built -DGGML_CUDA=on", None)


def test_the_digest_follows_lock_and_pyproject(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_text("1")
    before = bootstrap.digest(tmp_path, "requirements.lock")
    assert bootstrap.digest(tmp_path, "requirements.lock") == before
    seen = {before}
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_text("2")
        seen.add(bootstrap.digest(tmp_path, "requirements.lock"))
    assert len(seen) == 3


def test_progress_without_a_terminal_is_plain_lines(tmp_path: Path) -> None:
    shown = io.StringIO()
    with Progress(tmp_path / "log", shown) as progress:
        good = progress.run("llama.cpp", [sys.executable, "-c", "print('[3/9] Building CXX object a/b.cpp.o')"])
        bad = progress.run("more", [sys.executable, "-c", "print('it broke'); raise SystemExit(3)"])
        assert (good, bad, progress.tail()) == (0, 3, "it broke")
    lines = shown.getvalue().splitlines()
    assert [line.rpartition(" in ")[0] or line for line in lines] == [
        "llama.cpp ...", "llama.cpp: done", "more ...", "more: failed",
    ]  # fmt: skip
    assert "it broke" in (tmp_path / "log").read_text()
    assert "Building CXX object" in (tmp_path / "log").read_text()


def test_progress_in_a_terminal_shows_the_build_step(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    class Terminal(io.StringIO):
        seen = False

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            if "[3/9] b.cpp.o" in text and not self.seen:
                self.seen = True
                gate.open("w").close()
            return super().write(text)

    # The command waits at the gate, which opens once its step has been drawn.
    command = f"print('[3/9] Building CXX object a/b.cpp.o', flush=True); open({str(gate)!r}).read()"
    terminal = Terminal()
    with Progress(tmp_path / "log", terminal) as progress:
        assert progress.run("llama.cpp", [sys.executable, "-c", command]) == 0
    assert terminal.getvalue().rpartition("\x1b[K")[2].startswith("llama.cpp: done in ")


def test_the_launcher_parses_on_old_pythons() -> None:
    ast.parse((ROOT / "scripts" / "launch_node.py").read_text(), feature_version=(3, 6))
