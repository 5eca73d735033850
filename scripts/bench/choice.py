"""The options by which benchmarks of the engine choose a model and a number of threads, and what they come to."""

import argparse
from pathlib import Path

from aios_actors.config.structs import ModelConfig
from aios_actors.engine.machine import usable_cpus
from aios_actors.models import resolve
from scripts.bench.make_model import SHAPES, model_file

ALL_LAYERS = 999
READ_WEIGHTS = ["--load-mode", "none"]
"""Lets llama.cpp's tools read weights, as our workers do, instead of mapping them."""


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Options for the model and the threads."""
    parser.add_argument("--model", type=Path, help="a GGUF")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="135m", help="of the random-weight model")
    parser.add_argument("--threads", type=int, default=0, help="0: all CPUs that this process may use")
    parser.add_argument("--gpu-layers", type=int, default=0, help="layers on the GPU, for both sides; -1: all")


def chosen_model(options: argparse.Namespace) -> Path:
    """The GGUF that was named; else the embedded one for a quick run, else a random-weight one of the shape."""
    if options.model is not None:
        return Path(options.model)
    return embedded_model() if options.quick else model_file(options.shape)


def embedded_model() -> Path:
    """The GGUF that comes with the package."""
    return resolve("nano", ModelConfig(source="embedded"), Path(), lambda line: None)


def chosen_threads(options: argparse.Namespace) -> int:
    """The number of threads that was given, else of the CPUs that this process may use."""
    return int(options.threads) or usable_cpus()


def llama_cpp_flags(model: Path, threads: int, gpu_layers: int) -> list[str]:
    """The command line of llama.cpp's tools for a model, threads and layers on the GPU."""
    layers = gpu_layers if gpu_layers >= 0 else ALL_LAYERS
    return ["-m", str(model), "-t", str(threads), "-tb", str(threads), "-ngl", str(layers)]
