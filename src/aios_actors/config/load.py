"""Reads a config file: TOML, overrides, Structs, checks.

Contract: `load_config` returns a config that can run, or raises one `ConfigError` with everything that is wrong. What a
config need not say is filled in: the embedded model `nano`, and a worker with defaults for each model that an agent
uses and that has none. The folders of the config go in front of Python's import path, so that the classes which were
checked are those that will run.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from aios_actors.config.check import check
from aios_actors.config.classes import extend_import_path
from aios_actors.config.decode import decode
from aios_actors.config.mistakes import ConfigError, Mistake, Mistakes
from aios_actors.config.overrides import apply_override
from aios_actors.config.structs import Config, ModelConfig, WorkerConfig

_PLACE_IN_MESSAGE = re.compile(r" \(at line (\d+), column (\d+)\)$")


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Loads and checks a config.

    Args:
        path: the TOML file.
        overrides: `path=value` each, in order; the value is TOML, or text.

    Raises:
        ConfigError: all mistakes that were found.
    """
    mistakes = Mistakes(str(path))
    raw = _read(Path(path))
    for override in overrides:
        apply_override(raw, override, mistakes)
    config = complete(decode(raw, Config, mistakes))
    extend_import_path(Path(path))
    check(config, Path(path).resolve().parent, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return config


def complete(config: Config) -> Config:
    """Fills in the model `nano` and the workers that the agents need."""
    nano = config.models.get("nano", ModelConfig())
    if not (nano.source or nano.path or nano.hf):
        nano = msgspec.structs.replace(nano, source="embedded")
    models = {**config.models, "nano": nano}
    served = {worker.model for worker in config.workers}
    used = dict.fromkeys(agent.model for agent in config.agents.values())
    added = tuple(WorkerConfig(model=name) for name in used if name in models and name not in served)
    return msgspec.structs.replace(config, models=models, workers=(*config.workers, *added))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = Mistake(str(path), "", "there is no such file")
    except OSError as error:
        problem = Mistake(str(path), "", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problem = Mistake(str(path), "", f"is no UTF-8 text (byte {error.start}); save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        place = _PLACE_IN_MESSAGE.search(str(error))
        source = f"{path}:{place[1]}:{place[2]}" if place else str(path)
        problem = Mistake(source, "", f"is no TOML: {_PLACE_IN_MESSAGE.sub('', str(error))}")
    raise ConfigError([problem])
