"""The config: TOML files decoded into Structs, with every mistake reported at once.

`load_config` is the one way in. What it returns has been checked against the world: classes import, model files are
GGUFs, names refer to what exists, and each model that is used has a worker.
"""

from aios_actors.config.load import load_config
from aios_actors.config.mistakes import ConfigError, Mistake
from aios_actors.config.structs import Config

__all__ = ["Config", "ConfigError", "Mistake", "load_config"]
