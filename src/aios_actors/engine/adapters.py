"""LoRA adapters of a context, and whose turn it is when requests use different ones.

Contract: `Adapters` loads the adapters of a worker's settings or raises `AdapterError`. A request's choice becomes a
key that names each adapter with the fingerprint of its file and its scale; the key of no adapter is empty. llama.cpp
applies adapters to a whole decode call, so a step serves the requests of one key, and KV is shared between equal keys
only. `Turns` goes round the keys that have work: switching rebuilds llama.cpp's graph, so a key keeps its turn for some
steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama_cpp

from aios_actors.engine import gguf

STEPS_A_TURN = 4


class AdapterError(Exception):
    """Raised when an adapter cannot be loaded, or a request names one that is not there."""


class Adapters:
    """The adapters of one context, by name. llama.cpp frees them with the model."""

    def __init__(self, model: Any, context: Any, paths: Mapping[str, str]) -> None:
        """Load the GGUF files at `paths`. Raises `AdapterError`."""
        self._context = context
        self._fingerprints = {name: _fingerprint(name, path) for name, path in paths.items()}
        self._loaded = {name: _load(model, name, path) for name, path in paths.items()}
        self._sets: dict[str, dict[str, float]] = {"": {}}
        self._in_force = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that requests may use."""
        return tuple(self._loaded)

    def key(self, chosen: Mapping[str, float]) -> str:
        """The key of a set of adapters with their scales; scales of 0 leave an adapter out. Raises `AdapterError`."""
        unknown = next((name for name in chosen if name not in self._loaded), None)
        if unknown is not None:
            raise AdapterError(f"there is no adapter {unknown!r}; this worker has {', '.join(self._loaded) or 'none'}")
        used = {name: chosen[name] for name in sorted(chosen) if chosen[name]}
        key = ",".join(f"{name}@{self._fingerprints[name]}*{scale!r}" for name, scale in used.items())
        self._sets[key] = used
        return key

    def apply(self, key: str) -> None:
        """Let the decode calls from here on use the set of `key`; nothing is done if it is in force already."""
        if key == self._in_force:
            return
        chosen = self._sets[key]
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(chosen))(*(self._loaded[name] for name in chosen))
        scales = (ctypes.c_float * len(chosen))(*chosen.values())
        llama_cpp.llama_set_adapters_lora(self._context, pointers, len(chosen), scales)
        self._in_force = key


class Turns:
    """Which key the next step serves."""

    def __init__(self) -> None:
        self._current = ""
        self._left = 0
        self._step = 0
        self._served: dict[str, int] = {}

    def next(self, urgencies: Mapping[str, int]) -> str:
        """One of the keys that have work; `urgencies` are their highest priorities among what must not wait.

        The most urgent come first; among equals the current one until its turn is over, then who waited longest.
        """
        self._step += 1
        most = max(urgencies.values())
        due = [key for key, urgency in urgencies.items() if urgency == most]
        if self._current in due and self._left > 0:
            self._left -= 1
        else:
            self._current = min(due, key=lambda key: self._served.get(key, 0))
            self._left = STEPS_A_TURN - 1
        self._served = {key: self._served.get(key, 0) for key in urgencies} | {self._current: self._step}
        return self._current


def _load(model: Any, name: str, path: str) -> Any:
    pointer = llama_cpp.llama_adapter_lora_init(model, path.encode())
    if not pointer:
        raise AdapterError(f"llama.cpp cannot load adapter {name!r} from {path} for this model")
    return pointer


def _fingerprint(name: str, path: str) -> str:
    try:
        return gguf.read_header(Path(path)).fingerprint
    except (gguf.NotGguf, OSError) as error:
        raise AdapterError(f"adapter {name!r}: {error}") from error
