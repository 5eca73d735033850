"""Makes the project's `.venv` hold exactly what a lock file pins; shared by launch_node.py and scripts/test.

Contract: standard library only. `prepare` returns at once when the stamp in `.venv` says that this lock, this
pyproject.toml and this Python are installed; the stamp is written last and removed first, so a failed or interrupted
install is never taken for a good one. Two set-ups at a time take turns. llama-cpp-python is installed apart from the
rest, because it alone is built from source, may come as a ready wheel from another index (whose file has another hash
than the lock's source archive), and must not come from pip's cache when CMAKE_ARGS asks for another build.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from scripts.ready_wheels import wheel_source
from scripts.setup_progress import Progress, SetupFailed

ENGINE = "llama-cpp-python"
COMPILER_HELP = """\
llama.cpp must be built here, and that needs a C++ compiler:
  Debian, Ubuntu   sudo apt install g++ cmake
  Fedora, RHEL     sudo dnf install gcc-c++ cmake
  macOS            xcode-select --install && brew install cmake
  Windows          work in WSL (wsl --install) and follow the Ubuntu line
Or take a ready wheel: add --wheels cpu (or cuda, metal, or an index's URL)."""


class Environment(NamedTuple):
    """A virtual environment's folder."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        return self.bin / ("python.exe" if os.name == "nt" else "python")

    def script(self, name: str) -> Path:
        """Path of an installed command."""
        return self.bin / (f"{name}.exe" if os.name == "nt" else name)


class Stamp(NamedTuple):
    """What a finished set-up installed.

    `digest` covers the lock, pyproject.toml, the Python and the project's place; `engine` says where llama-cpp-python
    came from: `built CMAKE_ARGS` or the URL of its wheel.
    """

    digest: str
    engine: str

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """The stamp in a file; None if there is none or it is not whole."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def prepare(root: Path, *, tests: bool = False, wheels: str | None = None) -> Environment:
    """Makes `root/.venv` ready and returns it.

    Args:
        root: the project's folder, with pyproject.toml and the lock files.
        tests: install requirements-test.lock, which holds the other one's packages too.
        wheels: "cpu", "cuda", "metal", or the URL of an index or a wheel to take llama-cpp-python from.

    Raises:
        SetupFailed: something is missing or an install failed; the message says what to do.
    """
    environment = Environment(root / ".venv")
    names = {False: "requirements.lock", True: "requirements-test.lock"}
    wanted = wheel_source(wheels) if wheels else None
    # A set-up for the tests serves a run as well.
    for kind in (True, False) if not tests else (True,):
        stamp = Stamp.read(stamp_path(environment, kind))
        if stamp and stamp.digest == digest(root, names[kind]) and not engine_is_stale(stamp.engine, wanted):
            return environment
    environment.folder.mkdir(exist_ok=True)
    with one_at_a_time(environment.folder / "setup.lock"):
        install(root, environment, tests=tests, lock=root / names[tests], wheel_url=wanted)
    return environment


def stamp_path(environment: Environment, tests: bool) -> Path:
    return environment.folder / ("setup-test.json" if tests else "setup-run.json")


def digest(root: Path, lock: str) -> str:
    """Hash of all that decides what `.venv` must hold."""
    hasher = hashlib.sha256(f"{sys.version}\0{root}\0".encode())
    for name in (lock, "pyproject.toml"):
        hasher.update((root / name).read_bytes())
    return hasher.hexdigest()


def engine_is_stale(installed: str, wheel_url: str | None) -> bool:
    """Whether the llama-cpp-python that is installed is not the one asked for.

    Without a wish (no --wheels, no CMAKE_ARGS) any is good.
    """
    if wheel_url:
        return installed != wheel_url
    wished = os.environ.get("CMAKE_ARGS", "")
    return bool(wished) and installed != f"built {wished}"


def install(root: Path, environment: Environment, *, tests: bool, lock: Path, wheel_url: str | None) -> None:
    """Installs everything, step by step, and writes the stamp last."""
    previous = [Stamp.read(stamp_path(environment, kind)) for kind in (True, False)]
    engine_before = next((stamp.engine for stamp in previous if stamp), None)
    for kind in (True, False):
        stamp_path(environment, kind).unlink(missing_ok=True)
    others, engine = split_lock(lock.read_text())
    version = re.search(r"==([^\s\\;]+)", engine)
    if version is None:
        raise SetupFailed(f"{lock.name} does not pin {ENGINE}; make it anew with scripts/lock")
    with Progress(environment.folder / "setup.log") as progress, tempfile.TemporaryDirectory() as folder:
        steps = Steps(environment, progress, Path(folder))
        steps.make_environment()
        origin = engine_before
        stale = origin is None or engine_is_stale(origin, wheel_url) or steps.installed_version() != version[1]
        if stale and steps.must_build(version[1], wheel_url):
            require_compiler(os.environ)
        steps.install_locked("Python packages", others)
        if origin is None or stale:
            origin = steps.install_engine(version[1], engine, wheel_url)
        steps.pip("aios_actors", "--no-deps", "--editable", str(root))
        steps.compile_attention()
        progress.finish(f"set-up done in {progress.elapsed()}")
    content = json.dumps(Stamp(digest(root, lock.name), origin)._asdict())
    unfinished = stamp_path(environment, tests).with_suffix(".part")
    unfinished.write_text(content)
    unfinished.replace(stamp_path(environment, tests))


class Steps:
    """The steps of one set-up; each raises SetupFailed with the end of the log when it fails."""

    def __init__(self, environment: Environment, progress: Progress, folder: Path) -> None:
        self.environment = environment
        self.progress = progress
        self.folder = folder

    def make_environment(self) -> None:
        """Makes the virtual environment, anew if another Python's is there."""
        config = self.environment.folder / "pyvenv.cfg"
        made_by = re.search(r"^version\s*=\s*(\d+\.\d+)", config.read_text(), re.M) if config.exists() else None
        ours = "{}.{}".format(*sys.version_info[:2])
        if made_by and made_by[1] == ours and self.environment.python.exists():
            return
        arguments = [sys.executable, "-m", "venv", str(self.environment.folder)]
        # --clear would remove setup.lock under a waiting process, so only another Python's files are removed.
        for stale in ("lib", "lib64", "bin", "include", "Lib", "Scripts") if made_by else ():
            path = self.environment.folder / stale
            path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
        if self.progress.run("virtual environment", arguments) != 0:
            raise self.failure("python3 -m venv failed. On Debian and Ubuntu: sudo apt install python3-venv")

    def pip(self, title: str, *arguments: str, verbose: bool = False) -> None:
        """Runs `pip install`; `verbose` shows the output of builds."""
        command = [str(self.environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        code = self.progress.run(title, [*command, *(["-v"] if verbose else []), *arguments])
        if code != 0:
            raise self.failure(f"installing {title} failed (pip ended with {code})")

    def install_locked(self, title: str, requirements: str, *options: str, verbose: bool = False) -> None:
        """Installs lines of a lock file, hashes checked."""
        path = self.folder / "requirements.txt"
        path.write_text(requirements)
        self.pip(title, "--no-deps", "--require-hashes", *options, "-r", str(path), verbose=verbose)

    def must_build(self, version: str, wheel_url: str | None) -> bool:
        """Whether llama.cpp is compiled; what an interrupted set-up left is good unless CMAKE_ARGS has wishes."""
        return not wheel_url and (bool(os.environ.get("CMAKE_ARGS")) or self.installed_version() != version)

    def install_engine(self, version: str, requirement: str, wheel_url: str | None) -> str:
        """Installs llama-cpp-python from a ready wheel or by building it; returns which, as the stamp notes it."""
        if wheel_url:
            self.install_wheel(version, wheel_url)
            return wheel_url
        wished = os.environ.get("CMAKE_ARGS", "")
        if not self.must_build(version, wheel_url):
            return "built "
        self.progress.say(
            f"llama.cpp {version} is built from source: 3 to 15 minutes, only this once"
            + (f" (CMAKE_ARGS={wished})" if wished else "")
        )
        # pip's cache of built wheels does not know CMAKE_ARGS.
        fresh = ("--no-cache-dir", "--force-reinstall") if wished else ()
        self.install_locked("llama.cpp", requirement, *fresh, verbose=True)
        return f"built {wished}"

    def compile_attention(self) -> None:
        """Compiles the engine's attention kernel, as the first worker would; without one llama.cpp's own is used."""
        if self.progress.run("attention", [str(self.environment.python), "-m", "aios_actors.engine.attention"]) != 0:
            self.progress.say(self.progress.tail())

    def install_wheel(self, version: str, url: str) -> None:
        """Installs a ready wheel of the pinned version from an index or straight from its URL."""
        common = ("--no-deps", "--force-reinstall", "--only-binary", ":all:")
        if url.endswith(".whl"):
            self.pip("llama.cpp wheel", *common, url)
        else:
            self.pip("llama.cpp wheel", *common, "--index-url", url, f"{ENGINE}=={version}")
        if (found := self.installed_version()) is None or found.partition("+")[0] != version:
            raise SetupFailed(f"{url} holds {ENGINE} {found}, and {version} is needed")

    def installed_version(self) -> str | None:
        """Version of the llama-cpp-python in the environment, None if there is none."""
        found = self.environment.folder.glob("**/site-packages/llama_cpp_python-*.dist-info")
        return next((path.name.removesuffix(".dist-info").partition("-")[2] for path in found), None)

    def failure(self, what: str) -> SetupFailed:
        return SetupFailed(f"{self.progress.tail()}\n\n{what}\nThe whole log is {self.progress.log_path}")


def split_lock(text: str) -> tuple[str, str]:
    """Cuts a lock file in (all but llama-cpp-python, llama-cpp-python); an entry is a line and its indented ones."""
    entries = re.findall(r"^(?![#\s]).*(?:\n[ \t]+.*)*\n?", text, re.M)
    engine = [entry for entry in entries if entry.startswith(f"{ENGINE}==")]
    return "".join(entry for entry in entries if entry not in engine), "".join(engine)


def require_compiler(environ: Mapping[str, str]) -> None:
    """Checks what the build needs before pip spends minutes.

    cmake and ninja are not asked for: llama-cpp-python's build backend installs its own where the system has none.
    """
    named = environ.get("CXX", "").split()[:1]
    if not any(shutil.which(name, path=environ.get("PATH")) for name in named or ("c++", "g++", "clang++", "cl")):
        missing = f"CXX={named[0]} is not there. " if named else ""
        raise SetupFailed(missing + COMPILER_HELP)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Holds a file lock, which ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such lock on Windows
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another set-up is at work here; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def replace_process(program: Path, arguments: list[str]) -> int:
    """Becomes `program`, so that signals reach it; where that cannot be, runs it and returns its exit code."""
    command = [str(program), *arguments]
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.run(command, check=False).returncode
    os.execv(program, command)


def main() -> int:
    """`python3 -m scripts.bootstrap [--tests] [--wheels ...]`: only the set-up."""
    parser = argparse.ArgumentParser(prog="python3 -m scripts.bootstrap", description="Sets up .venv.")
    parser.add_argument("--tests", action="store_true", help="with what the tests need")
    parser.add_argument("--wheels", metavar="cpu|cuda|metal|URL")
    options = parser.parse_args()
    try:
        prepare(Path(__file__).resolve().parent.parent, tests=options.tests, wheels=options.wheels)
    except SetupFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
