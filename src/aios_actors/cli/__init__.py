"""The command line `aios-actors`: run a config, check it, print its schema."""

from aios_actors.cli.main import main

__all__ = ["main"]
