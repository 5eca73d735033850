"""Who may import whom, as ARCHITECTURE.md says it: each package names all of ours that it may use."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "aios_actors"

MAY_IMPORT = {
    "actors": ("actors",),
    "syscalls": ("syscalls", "actors.message", "actors.errors", "engine.messages"),
    "engine": ("engine", "observe.logs"),
    "sdk": ("sdk", "actors", "syscalls", "engine.messages"),
    "kernel": (
        "kernel",
        "actors",
        "syscalls",
        "engine.environment",
        "engine.messages",
        "engine.framing",
        "engine.protocol",
        "engine.spec",
        "config.structs",
        "observe.events",
        "observe.state",
        "sdk.tool",
    ),
    "observe": ("observe",),
    "config": (
        "config",
        "engine.gguf",
        "engine.machine",
        "engine.weights",
        "engine.width",
        "kernel.tool",
        "kernel.scheduler.policies",
        "sdk",
    ),
    "nano": ("nano",),
    "control": ("control", "actors", "observe.state"),
    "cli": ("",),
}
NODE_SIDE = ("environment", "messages", "framing", "protocol", "spec", "gguf", "machine", "weights", "width")
"""Modules of the engine that the node imports; they must not load llama.cpp or numpy into it."""


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports from aios_actors on"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_the_architecture_allows(package: str) -> None:
    allowed = [f"aios_actors.{each}".rstrip(".") for each in MAY_IMPORT[package]]
    wrong = [
        f"{path.relative_to(SOURCE)} imports {module}"
        for path in (SOURCE / package).rglob("*.py")
        for module in imports(path)
        if within(module, "aios_actors") and not any(within(module, each) for each in allowed)
    ]
    assert not wrong


@pytest.mark.parametrize("name", NODE_SIDE)
def test_the_node_side_of_the_engine_loads_no_native_code(name: str) -> None:
    modules = set(imports(SOURCE / "engine" / f"{name}.py"))
    assert not {module for module in modules if module.split(".")[0] in ("llama_cpp", "numpy", "llguidance", "jinja2")}


def test_only_the_engine_and_its_tools_touch_llama_cpp() -> None:
    users = {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        for m in imports(path)
        if within(m, "llama_cpp")
    }
    assert users <= {"engine", "nano"}


def test_every_package_has_a_rule() -> None:
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(MAY_IMPORT)


def test_the_actor_runtime_can_be_used_alone() -> None:
    code = "import sys, aios_actors.actors; print(*(m for m in sys.modules if m.startswith('aios_actors.')))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert loaded and all(within(module, "aios_actors.actors") for module in loaded)
