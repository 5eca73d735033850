"""Builds llama.cpp's own `llama-server` and `llama-batched-bench`, which other benchmarks compare with.

The source is the one that llama-cpp-python's pinned source archive vendors, so that both sides run the same kernels,
and the build is the wheel's: Release, with this machine's instructions. Everything goes into one folder, `build/llama`
unless told otherwise; a second run does what is left to do. Needs cmake, a C++ compiler, and once the package index.

    python -m scripts.bench.llama_tools [--folder build/llama] [--archive FILE.tar.gz] [--jobs 2]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from scripts.bootstrap import split_lock

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build" / "llama"
TARGETS = ("llama-server", "llama-batched-bench")
FLAGS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
PARTS = ("vendor/llama.cpp/", "examples/server/")
"""What is unpacked of the archive: llama.cpp, and llama-cpp-python's own server example."""


class BuildFailed(Exception):
    """Raised when the tools cannot be built; the message says what to do."""


def binary(name: str, folder: Path = FOLDER) -> Path | None:
    """A tool that was built; None if it was not."""
    path = folder / "build" / "bin" / name
    return path if path.is_file() else None


def python_server(folder: Path = FOLDER) -> Path | None:
    """The server example of llama-cpp-python's archive; None if it was not unpacked."""
    path = folder / "source" / "examples" / "server" / "server.py"
    return path if path.is_file() else None


def build(folder: Path, archive: Path | None, jobs: int) -> list[Path]:
    """Does what is left to do of download, unpacking and build.

    Args:
        folder: where everything goes.
        archive: llama-cpp-python's source archive; None downloads the pinned one.
        jobs: compilers at the same time.

    Returns:
        The binaries.

    Raises:
        BuildFailed: a step failed.
    """
    if shutil.which("cmake") is None:
        raise BuildFailed("cmake is missing; install it with your package manager or `pip install cmake`")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source"
    if not source.is_dir():
        unpack(archive or download(folder), source)
    flags = [f"-D{name}={value}" for name, value in FLAGS.items()]
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    target = folder / "build"
    _run("cmake", "-S", str(source / "vendor" / "llama.cpp"), "-B", str(target), *generator, *flags)
    _run("cmake", "--build", str(target), "--target", *TARGETS, "-j", str(jobs))
    built = [binary(name, folder) for name in TARGETS]
    return [path for path in built if path]


def download(folder: Path) -> Path:
    """The pinned source archive, hash checked. Raises BuildFailed if the index cannot be reached."""
    _, requirement = split_lock((ROOT / "requirements.lock").read_text())
    wanted = folder / "requirement.txt"
    wanted.write_text(requirement)
    pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--require-hashes")
    _run(*pip, "--dest", str(folder), "-r", str(wanted))
    version = re.search(r"==([^\s\\;]+)", requirement)
    found = sorted(folder.glob(f"llama_cpp_python-{version[1] if version else '*'}.tar.gz"))
    if not found:
        raise BuildFailed(f"pip left no source archive in {folder}")
    return found[0]


def unpack(archive: Path, target: Path) -> None:
    """Unpacks the needed parts of the archive into `target`, all or nothing."""
    unfinished = target.with_name(target.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            member.name = member.name.partition("/")[2]
            if member.name.startswith(PARTS):
                tar.extract(member, unfinished, filter="data")
    if not (unfinished / PARTS[0] / "CMakeLists.txt").is_file():
        raise BuildFailed(f"{archive} is no source archive of llama-cpp-python")
    unfinished.rename(target)


def _run(*command: str) -> None:
    if (code := subprocess.run(command, check=False).returncode) != 0:
        raise BuildFailed(f"{' '.join(command)} ended with {code}")


def main() -> int:
    """Reads the command line, builds, prints where the binaries are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--archive", type=Path, help="llama-cpp-python's source archive, instead of downloading it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at the same time")
    options = parser.parse_args()
    try:
        built = build(options.folder, options.archive, options.jobs)
    except BuildFailed as error:
        print(f"llama_tools: {error}", file=sys.stderr)
        return 1
    print(*built, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
