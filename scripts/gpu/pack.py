"""Packs all that a run on a GPU machine needs into one file, for machines without network.

In it: this project, wheels of what it imports and of the build tools, and the sources of llama-cpp-python with the
llama.cpp that they vendor, without their tests, documents and sample vocabularies. Wheels are stored uncompressed, so
that the whole is compressed at once. Needs the package index here; there only Python, a C++ compiler and CUDA:

    python -m scripts.gpu.pack [--target build/aios-gpu.tar.xz] [--python 3.11]
    scp build/aios-gpu.tar.xz MACHINE: && ssh MACHINE 'tar xf aios-gpu.tar.xz && python3 aios-gpu/run.py'
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.bootstrap import split_lock

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "aios-gpu"
LIMIT = 60_000_000
PROJECT = ("src", "scripts", "agents", "configs", "pyproject.toml", "requirements.lock")
# What the benchmarks of the engine and llama-cpp-python import, and what builds that; pip finds the rest.
PINNED = ("anyio", "diskcache", "jinja2", "llguidance", "msgspec", "numpy", "rich", "structlog", "typing-extensions")
TOOLS = ("gguf", "cmake", "ninja", "scikit-build-core")
PLATFORMS = tuple(
    f"manylinux{tag}_x86_64" for tag in ("_2_31", "_2_28", "_2_27", "_2_17", "2014", "_2_12", "2010", "_2_5", "1")
)
_LEFT_OUT = re.compile(
    r"[^/]+/(\.git(/|$)|\.github/|docs/|tests/"
    r"|vendor/llama\.cpp/(\.git|docs/|models/|tests/|benches/|media/|ci/|examples/[^/]+/|conversion/"
    r"|tools/ui/(?!CMakeLists\.txt|sources\.cmake|ui\.)))"
)
_PYCACHE = re.compile(r"(^|/)__pycache__(/|$)")


class PackFailed(Exception):
    """Raised when something cannot be packed; the message says what to do."""


def pack(target: Path, python: str, download: Callable[[Path, str], Path]) -> int:
    """Packs everything.

    Args:
        target: the file to write, `.tar.xz`.
        python: version of the Python that will run it, such as "3.11".
        download: fills a folder with wheels for that version, and returns llama-cpp-python's source archive.

    Returns:
        The file's size in bytes.

    Raises:
        PackFailed: something is missing, or the file would be larger than `LIMIT`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch, "wheels")
        wheels.mkdir()
        archive = download(wheels, python)
        for wheel in wheels.glob("*.whl"):
            store(wheel)
        unfinished = Path(scratch, "packed.tar.xz")
        with tarfile.open(unfinished, "w:xz", preset=6) as tar:
            tar.add(ROOT / "scripts" / "gpu" / "run.py", f"{NAME}/run.py")
            tar.add(wheels, f"{NAME}/wheels")
            for part in PROJECT:
                tar.add(ROOT / part, f"{NAME}/project/{part}", filter=_without_caches)
            add_sources(tar, archive)
        size = unfinished.stat().st_size
        if size > LIMIT:
            raise PackFailed(f"it would be {size / 1e6:.1f} MB, and at most {LIMIT / 1e6:.0f} are wanted")
        shutil.move(unfinished, target)
    return size


def fetch(folder: Path, python: str) -> Path:
    """Downloads wheels into `folder`, and the pinned llama-cpp-python beside it. Raises PackFailed without network."""
    others, engine = split_lock((ROOT / "requirements.lock").read_text())
    pins = [_pin(others, name) for name in PINNED]
    platforms = [option for platform in PLATFORMS for option in ("--platform", platform)]
    version = ("--only-binary", ":all:", "--implementation", "cp", "--python-version", python)
    _pip("--dest", str(folder), *version, *platforms, *pins, *TOOLS)
    sources = folder.parent / "sources"
    sources.mkdir()
    wanted = sources / "requirement.txt"
    wanted.write_text(engine)
    _pip("--dest", str(sources), "--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(wanted))
    return next(sources.glob("llama_cpp_python-*.tar.gz"))


def store(wheel: Path) -> None:
    """Writes a wheel anew, its files uncompressed; their hashes in it stay true."""
    loose = wheel.with_suffix(".loose")
    with zipfile.ZipFile(wheel) as packed, zipfile.ZipFile(loose, "w", zipfile.ZIP_STORED) as unpacked:
        for entry in packed.infolist():
            content = packed.read(entry)
            entry.compress_type = zipfile.ZIP_STORED
            unpacked.writestr(entry, content)
    loose.replace(wheel)


def add_sources(tar: tarfile.TarFile, archive: Path) -> None:
    """Adds what a build needs of llama-cpp-python's source archive. Raises PackFailed for another archive."""
    found = False
    with tarfile.open(archive) as sources:
        for member in sources:
            if not member.isfile() or _LEFT_OUT.match(member.name):
                continue
            inside = member.name.partition("/")[2]
            found |= inside == "vendor/llama.cpp/CMakeLists.txt"
            member.name = f"{NAME}/llama/{inside}"
            member.pax_headers = {}  # a long path stands there too, and would be preferred
            tar.addfile(member, sources.extractfile(member))
    if not found:
        raise PackFailed(f"{archive} is no source archive of llama-cpp-python")


def _pin(lock: str, name: str) -> str:
    """The version of a package that the lock names; of two, pip takes the one for its Python by their markers."""
    found = re.findall(rf"^{re.escape(name)}==([^\s\\;]+)", lock, re.M)
    if not found:
        raise PackFailed(f"{name} is not in requirements.lock; run scripts/lock")
    return f"{name}=={found[0]}" if len(found) == 1 else f"{name}>={min(found)},<={max(found)}"


def _without_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _PYCACHE.search(member.name) else member


def _pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *arguments], check=False)
    if done.returncode != 0:
        raise PackFailed("pip cannot download; connect to a package index and try again")


def main(arguments: Iterable[str] | None = None) -> int:
    """Reads the command line, packs, tells the size; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=ROOT / "build" / f"{NAME}.tar.xz")
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info), help="version on the GPU machine")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        size = pack(options.target, options.python, fetch)
    except PackFailed as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(f"{options.target}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
