"""The JSON Schema for editors: committed, current, and in agreement with the loader."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from aios_actors.config.schema import config_schema, schema_text

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_committed_schema_is_current() -> None:
    assert (CONFIGS / "schema.json").read_text() == schema_text(), "run: aios-actors schema > configs/schema.json"


def test_every_key_is_described() -> None:
    for name, definition in config_schema()["$defs"].items():
        assert "Attributes" not in definition["description"]
        for key, each in definition["properties"].items():
            assert each.get("description"), f"{name}.{key} has no line in its docstring's Attributes"
            assert each["description"].endswith("."), f"{name}.{key}: indent the lines that go on with it"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_configs_name_and_fit_the_schema(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#:schema ./schema.json\n")
    jsonschema.validate(tomllib.loads(text), config_schema())


@pytest.mark.parametrize(
    "config", [{"nod": {}}, {"node": {"drain_s": 0}}, {"agents": {"a": {}}}, {"scheduler": {"policy": "lottery"}}]
)
def test_mistakes_do_not_fit(config: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, json.loads(schema_text()))
