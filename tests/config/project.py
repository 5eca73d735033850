"""A project folder to load configs from, and small GGUF files."""

import struct
from pathlib import Path

import pytest

from aios_actors.config import Config, ConfigError, load_config


class Project:
    """A folder with a config, modules and models; modules made here are forgotten afterwards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "configs").mkdir()
        self.config = root / "configs" / "run.toml"

    def module(self, name: str, text: str, *, beside_config: bool = False) -> str:
        """Writes a Python module that the config may name; returns a name that no other test uses."""
        unique = f"{name}_{abs(hash(self.root)):x}"
        folder = self.config.parent if beside_config else self.root
        (folder / f"{unique}.py").write_text(text)
        return unique

    def agent_class(self, body: str = "    pass", name: str = "Writer") -> str:
        """Makes an agent class and returns its `module:Class`."""
        text = f'from aios_actors import Agent, tool\n\nclass {name}(Agent):\n    """You write."""\n{body}\n'
        return f"{self.module('agents', text)}:{name}"

    def gguf(self, name: str = "model.gguf", *, context: int = 4096, layers: int = 4, weights: int = 64) -> Path:
        """Writes a GGUF header of a llama model (8 heads, 512 wide) with `weights` bytes after it."""
        path = self.config.parent / name
        path.write_bytes(gguf_bytes(context=context, layers=layers) + bytes(weights))
        return path

    def load(self, text: str, *overrides: str) -> Config:
        """Writes the config and loads it."""
        self.config.write_text(text)
        return load_config(self.config, overrides)

    def mistakes(self, text: str, *overrides: str) -> list[str]:
        """The lines of the error that the config has, without the file's name."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, *overrides)
        return [str(mistake).removeprefix(f"{self.config}: ") for mistake in caught.value.mistakes]


def gguf_bytes(*, context: int, layers: int) -> bytes:
    """A GGUF 3 header without tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    numbers = {
        "context_length": context, "block_count": layers, "embedding_length": 512,
        "attention.head_count": 8, "attention.head_count_kv": 8,
    }  # fmt: skip
    pairs = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for key, value in numbers.items():
        pairs += text(f"llama.{key}") + struct.pack("<II", 4, value)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1 + len(numbers)) + pairs
