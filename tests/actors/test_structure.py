"""The runtime's own rules about its files."""

import ast
from pathlib import Path

import aios_actors.actors

FOLDER = Path(aios_actors.actors.__file__).parent


def _imports(path: Path) -> set[str]:
    """The modules that a file names in its import statements."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_one_file_holds_all_raw_asyncio() -> None:
    users = [path.name for path in FOLDER.glob("*.py") if "asyncio" in _imports(path)]
    assert users == ["mailbox.py"]


def test_the_runtime_needs_nothing_but_msgspec_and_itself() -> None:
    for path in FOLDER.rglob("*.py"):
        ours = {name for name in _imports(path) if name.startswith("aios_actors")}
        assert all(name.startswith("aios_actors.actors") for name in ours), path
        foreign = {"structlog", "anyio", "numpy", "llama_cpp"} & {name.partition(".")[0] for name in _imports(path)}
        assert not foreign, path


def test_messages_import_only_msgspec_and_typing() -> None:
    assert _imports(FOLDER / "message.py") == {"msgspec", "typing"}


def test_everything_exported_exists() -> None:
    assert all(hasattr(aios_actors.actors, name) for name in aios_actors.actors.__all__)
