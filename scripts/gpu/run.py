"""Builds with CUDA and measures, on a machine without network; lies beside what scripts/gpu/pack.py packed.

Standard library only. Makes an environment from the packed wheels, builds llama.cpp once (its libraries serve our
engine, its llama-batched-bench and llama-server are what we are compared with), writes random-weight models of real
shapes, and prints the tables of the benchmarks. What is done already is not done again.

    python3 aios-gpu/run.py [--shapes 1b,8b] [--cpu] [--jobs N] [--benches decode,fleet,sampling]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

CMAKE_FLAGS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "GGML_NATIVE": "ON",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
CUDA_FLAGS = {"GGML_CUDA": "ON", "CMAKE_CUDA_ARCHITECTURES": "native"}
TARGETS = ("llama-batched-bench", "llama-server")
BENCHES = ("decode", "fleet", "sampling")
FLEETS = ("--fleets", "AB", "--no-probes", "--settings", "default-fa-on,np-fa-on,kvu-fa-on,np-fa-off")
HAS_PIP = importlib.util.find_spec("pip") is not None
"""Whether this Python has pip. If so it installs into the environment too: some systems' venv cannot bring its own."""


class Failed(Exception):
    """Raised when a step failed; the message says which."""


class Run:
    """A run in the folder `home`, where the packed things lie."""

    def __init__(self, home: Path, *, cuda: bool, jobs: int) -> None:
        self.home = home
        self.cuda = cuda
        self.jobs = jobs
        self.environment = home / "environment"
        self.build = home / ("build-cuda" if cuda else "build-cpu")
        self.python = self.environment / "bin" / "python"
        self.batched_bench, self.server = (self.build / "bin" / target for target in TARGETS)

    def prepare(self) -> None:
        """Makes the environment and builds, as far as that is not done."""
        if not self.python.exists():
            venv.create(self.environment, with_pip=not HAS_PIP)
        wheels = sorted(path.name.partition("-")[0] for path in (self.home / "wheels").glob("*.whl"))
        self._pip("--find-links", str(self.home / "wheels"), *wheels)
        self.compile()
        options = f"-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF -DCMAKE_MAKE_PROGRAM={self._tool('ninja')}"
        self._pip("--no-build-isolation", "--no-deps", str(self.home / "llama"), CMAKE_ARGS=options)
        # Where the package's own build would have put them.
        libraries = next(self.environment.glob("lib/python*/site-packages/llama_cpp")) / "lib"
        libraries.mkdir(exist_ok=True)
        for library in (self.build / "bin").glob("lib*.so*"):
            (libraries / library.name).unlink(missing_ok=True)
            (libraries / library.name).symlink_to(library)
        self._call(str(self.python), "-c", "import llama_cpp")

    def compile(self) -> None:
        """Builds llama.cpp's libraries and its tools."""
        flags = CMAKE_FLAGS | (CUDA_FLAGS if self.cuda else {}) | {"CMAKE_MAKE_PROGRAM": self._tool("ninja")}
        source = self.home / "llama" / "vendor" / "llama.cpp"
        given = [f"-D{name}={value}" for name, value in flags.items()]
        cmake = self._tool("cmake")
        self._call(cmake, "-G", "Ninja", "-S", str(source), "-B", str(self.build), *given)
        self._call(cmake, "--build", str(self.build), "--target", *TARGETS, "-j", str(self.jobs))

    def commands(self, shapes: list[str], benches: list[str]) -> list[list[str]]:
        """The benchmarks to be run, as arguments of Python."""
        layers = ("--gpu-layers", "-1" if self.cuda else "0")
        options = {
            "decode": (*layers, "--batched-bench", str(self.batched_bench)),
            "fleet": (*layers, *FLEETS, "--llama-server", str(self.server)),
            "sampling": layers,
        }
        return [
            ["-m", f"scripts.bench.{bench}", "--model", str(self.model(shape)), *options[bench]]
            for shape in shapes
            for bench in benches
        ]

    def model(self, shape: str) -> Path:
        """Where the random-weight model of a shape lies."""
        return self.home / "models" / f"{shape}.gguf"

    def write_models(self, shapes: list[str]) -> None:
        """Writes the models that are not there yet."""
        for shape in shapes:
            if not self.model(shape).exists():
                self.model(shape).parent.mkdir(exist_ok=True)
                unfinished = self.model(shape).with_suffix(".part")
                self._call(str(self.python), "-m", "scripts.bench.make_model", shape, str(unfinished))
                unfinished.rename(self.model(shape))

    def measure(self, shapes: list[str], benches: list[str]) -> list[str]:
        """Runs the benchmarks; those that failed."""
        failed = []
        for command in self.commands(shapes, benches):
            try:
                self._call(str(self.python), *command)
            except Failed as error:
                failed.append(str(error))
        return failed

    def _pip(self, *arguments: str, **variables: str) -> None:
        pip = (
            (sys.executable, "-m", "pip", "--python", str(self.python)) if HAS_PIP else (str(self.python), "-m", "pip")
        )
        self._call(*pip, "install", "--quiet", "--no-index", *arguments, **variables)

    def _tool(self, name: str) -> str:
        """The packed build tool, or the machine's."""
        packed = self.environment / "bin" / name
        return str(packed) if packed.exists() else shutil.which(name) or name

    def _call(self, *command: str, **variables: str) -> None:
        project = self.home / "project"
        paths = {"PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}"}
        began = time.monotonic()
        print("$", *command, flush=True)
        done = subprocess.run(command, cwd=project, env=os.environ | paths | variables, check=False)
        print(f"  {time.monotonic() - began:.1f} s", flush=True)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)} ended with {done.returncode}")


def main() -> int:
    """Reads the command line, builds, measures; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="build and measure without CUDA")
    parser.add_argument("--shapes", default="", help="of the models; 1b,8b with CUDA and 135m without")
    parser.add_argument("--benches", default=",".join(BENCHES), help="which, in order")
    parser.add_argument("--prepare", action="store_true", help="build and write the models, and measure later")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at the same time")
    options = parser.parse_args()
    shapes = options.shapes or ("135m" if options.cpu else "1b,8b")
    run = Run(Path(__file__).resolve().parent, cuda=not options.cpu, jobs=options.jobs)
    try:
        run.prepare()
        run.write_models(shapes.split(","))
        failed = [] if options.prepare else run.measure(shapes.split(","), options.benches.split(","))
    except Failed as error:
        failed = [str(error)]
    for each in failed:
        print(f"run: {each}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
