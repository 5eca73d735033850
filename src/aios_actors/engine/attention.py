"""Attention on the CPU by a kernel of our own, which llama.cpp takes as a backend beside its own.

llama.cpp computes a token's attention head by head and agent by agent, from the whole of a unified cache or from each
agent's stream. The kernel (`native/`) finds from the mask what each token sees, reads a prefix that agents share once
for all of them, and nothing that nobody in the batch sees. So a cache that all sequences share costs no time, and a
shared prefix no memory for each agent. Measured with 135M parameters on two cores (`scripts/bench/attention.py`): a
step of 16 agents of 1,640 tokens, 1,500 of them shared, takes 55 instead of 94 ms, of 8 of 1,500 tokens of their own 47
instead of 56, of one of 2,000 tokens 12.5 instead of 15.6; a token of a prompt of 4,000 takes 1.7 instead of 2.8 ms.

Contract: `suits` says for which workers it is made; `offer` gives it to ggml, once for the process, or says in the log
why not: then llama.cpp computes as ever. A context whose attention it does not take is made anew without. It is
compiled for this machine's CPU when it is first wanted, as llama.cpp is, in about two seconds, and kept in the user's
cache folder; `python -m aios_actors.engine.attention` does only that.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import structlog
from msgspec.structs import replace

from aios_actors.engine.spec import WorkerSpec

_SOURCES = Path(__file__).parent / "native"
_LLAMA = Path(llama_cpp.__file__).parent
_FLAGS = (
    "-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC",
)  # fmt: skip
_DEVICE = b"AIOS"  # ggml's name of it, in backend.c
_CPU = 0  # GGML_BACKEND_DEVICE_TYPE_CPU


class BuildError(Exception):
    """Raised when the kernel cannot be compiled; the message says why."""


def suits(spec: WorkerSpec) -> bool:
    """Whether the kernel is made for a worker on the CPU with these settings: it reads half-precision keys and values.

    Whether it takes the model's attention too, only `Kernel.took_all` knows.
    """
    halves = spec.kv_type_k in ("auto", "f16") and spec.kv_type_v in ("auto", "f16")
    return spec.flash_attention != "off" and halves


def with_kernel(spec: WorkerSpec) -> WorkerSpec:
    """The settings with which the kernel is at work; unless `spec` says no, all sequences share their cells."""
    unified = True if spec.kv_unified is None else spec.kv_unified
    return replace(spec, flash_attention="on", kv_type_k="f16", kv_type_v="f16", kv_unified=unified)


class Kernel:
    """The compiled kernel, loaded into this process. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.aios_attention_backend.argtypes = [ctypes.c_void_p]
        self.library.aios_attention_backend.restype = ctypes.c_void_p
        self.library.aios_attention_took_all.restype = ctypes.c_bool

    def register(self) -> bool:
        """Give it to ggml as a backend, once for the process; False if this ggml is not one that it knows.

        All contexts that are made afterwards use it. The registry is asked through llama.cpp's own library: what the
        bindings load as ggml may be a second copy.
        """
        llama: Any = llama_cpp.llama_cpp._lib
        llama.ggml_backend_dev_by_name.argtypes = [ctypes.c_char_p]
        llama.ggml_backend_dev_by_name.restype = llama.ggml_backend_dev_by_type.restype = ctypes.c_void_p
        llama.ggml_backend_register.argtypes, llama.ggml_backend_register.restype = [ctypes.c_void_p], None
        if llama.ggml_backend_dev_by_name(_DEVICE) is not None:
            return True
        backend = self.library.aios_attention_backend(llama.ggml_backend_dev_by_type(_CPU))
        if backend is not None:
            llama.ggml_backend_register(backend)
        return backend is not None

    def took_all(self) -> bool:
        """Whether it takes all attention of the contexts that were made since this was last asked, and there was some.

        It refuses heads that are no multiple of 16 wide or more than 256, and a bias by distance (ALiBi).
        """
        return bool(self.library.aios_attention_took_all())


def offer() -> Kernel | None:
    """Compile the kernel, if need be, and give it to ggml; None, and a line in the log, if that cannot be."""
    log = structlog.get_logger("engine")
    try:
        kernel = Kernel(build())
    except (BuildError, OSError) as error:
        log.info("llama.cpp's own attention is used: ours cannot be", reason=str(error))
        return None
    if len(runtimes := _openmp_runtimes()) > 1:
        both = " and ".join(sorted(runtimes))
        log.info(
            "llama.cpp's own attention is used: ours would bring a second OpenMP", loaded=both, remedy="set CC=gcc"
        )
        return None
    if not kernel.register():
        log.info("llama.cpp's own attention is used: ours does not know this version", version=llama_cpp.__version__)
        return None
    return kernel


def build(folder: Path | None = None, flags: Sequence[str] = ()) -> Path:
    """The compiled kernel's file, compiled if it is not there yet.

    The name tells sources, llama.cpp, compiler, flags and CPU apart: none is ever taken for another.

    Args:
        folder: where it is kept; None: the user's cache.
        flags: for the compiler, beside those that it always gets.

    Raises:
        BuildError: there is no compiler, or it failed.
    """
    compiler = _compiler()
    folder = folder or _cache_folder()
    command = [compiler, *_FLAGS, *flags]
    target = folder / f"attention-{_digest(command)}.so"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever comes second replaces a file by an equal one: renaming it is one step.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / target.name
            _compile(command, made)
            made.replace(target)
    except OSError as error:
        raise BuildError(f"cannot write to {folder}: {error.strerror}") from error
    return target


def _compile(command: list[str], target: Path) -> None:
    include = _LLAMA.parent / "include"
    if not (include / "ggml-backend.h").exists():
        raise BuildError(f"ggml's headers are not in {include}")
    base = next(iter(sorted((_LLAMA / "lib").glob("libggml-base*"))), None)
    if base is None:
        raise BuildError(f"ggml's libraries are not in {_LLAMA / 'lib'}")
    sources = [str(path) for path in sorted(_SOURCES.glob("*.c"))]
    whole = [*command, f"-I{include}", "-o", str(target), *sources, str(base), "-lm"]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise BuildError(f"{command[0]} failed: {'; '.join(lines[:3])}")


def _compiler() -> str:
    named = os.environ.get("CC", "")
    found = next((name for name in (named, "gcc", "cc", "clang") if name and shutil.which(name)), None)
    if found is None:
        raise BuildError("there is no C compiler")
    return found


def _openmp_runtimes() -> set[str]:
    """Those that are loaded, on Linux: the threads of two would wait for each other's CPUs."""
    try:
        mapped = Path("/proc/self/maps").read_text()
    except OSError:
        return set()
    return {name for name in ("libgomp", "libomp", "libiomp5") if f"/{name}." in mapped or f"/{name}-" in mapped}


def _digest(command: list[str]) -> str:
    hasher = hashlib.blake2b(digest_size=12)
    for path in sorted(_SOURCES.iterdir()):
        hasher.update(path.read_bytes())
    hasher.update("\0".join((llama_cpp.__version__, str(_LLAMA), *command, _cpu())).encode())
    return hasher.hexdigest()


def _cpu() -> str:
    """What tells CPUs with other instructions apart: a cache folder may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _cache_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aios_actors"
    except RuntimeError as error:
        raise BuildError("there is no home folder; set XDG_CACHE_HOME") from error


def main() -> int:
    """`python -m aios_actors.engine.attention`: compile the kernel and say where it is."""
    try:
        print(f"attention kernel: {build()}")
    except BuildError as error:
        print(f"no attention kernel, llama.cpp's own attention is used: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
