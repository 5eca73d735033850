"""The registry of model families: to add one, write a `Family` and list it here, the most specific first."""

from aios_actors.engine.families.base import Family
from aios_actors.engine.families.gemma import Gemma
from aios_actors.engine.families.harmony import Harmony
from aios_actors.engine.families.hermes import Hermes
from aios_actors.engine.families.llama3 import Llama3
from aios_actors.engine.families.mistral import Mistral

FAMILIES: tuple[type[Family], ...] = (Harmony, Gemma, Mistral, Hermes, Llama3)


def family_of(template: str) -> Family:
    """The family that wrote `template`; Hermes for one that shows no tool calls, since most models know it."""
    return next((kind for kind in FAMILIES if kind.recognises(template)), Hermes)(template)


__all__ = ["FAMILIES", "Family", "Hermes", "family_of"]
