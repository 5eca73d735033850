"""The JSON Schema of config files, for editors (Taplo, Even Better TOML); made from the Structs and their docstrings.

Contract: `config_schema` is a pure function of structs.py. Each key's description is its line in the `Attributes:`
section of its Struct's docstring. configs/schema.json is its output, and a test compares them.
"""

import inspect
import json
import re
from typing import Any

import msgspec

from aios_actors.config.structs import Config

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.M)


def config_schema() -> dict[str, Any]:
    """The schema as plain data."""
    (reference,), definitions = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        _describe(definition)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "aios_actors config",
        **reference,
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as the text of configs/schema.json."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def _describe(definition: dict[str, Any]) -> None:
    """Moves the attributes' lines from a Struct's description to its properties."""
    text = inspect.cleandoc(definition.get("description", ""))
    summary, _, attributes = text.partition("\n\nAttributes:\n")
    definition["description"] = " ".join(summary.split())
    described = {name: " ".join(line.split()) for name, line in _ATTRIBUTE.findall(attributes)}
    for key, each in definition["properties"].items():
        if isinstance(each.get("default"), dict | list):
            del each["default"]  # an empty table or list, or what its own schema says
        # A field that would hide a keyword has a trailing underscore in Python.
        line = described.get(key) or described.get(f"{key}_")
        if line:
            each["description"] = line[0].upper() + line[1:]
