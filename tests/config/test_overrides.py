"""`--set path=value`: where it puts what, and what it says when it cannot."""

from typing import Any

import pytest

from aios_actors.config.mistakes import Mistakes
from aios_actors.config.overrides import apply_override


def applied(raw: dict[str, Any], override: str) -> dict[str, Any]:
    mistakes = Mistakes("f")
    apply_override(raw, override, mistakes)
    assert not list(mistakes)
    return raw


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("x=3", 3), ("x=2.5", 2.5), ("x=true", True), ('x="3"', "3"), ("x=hello there", "hello there"),
        ('x=["a", "b"]', ["a", "b"]), ("x={ y = 1 }", {"y": 1}), ("x=", ""), ("x=a=b", "a=b"), ("x=1\ny=2", "1\ny=2"),
    ],
)  # fmt: skip
def test_values_are_toml_or_text(override: str, value: Any) -> None:
    assert applied({}, override) == {"x": value}


def test_paths_make_tables_and_extend_lists() -> None:
    raw: dict[str, Any] = {"tasks": [{"agent": "a", "input": "one"}]}
    applied(raw, "tasks[0].input=two")
    applied(raw, "tasks[1].agent=b")
    applied(raw, 'tools.limits."memory.*".parallel=2')
    applied(raw, "workers[0].model=nano")
    assert raw == {
        "tasks": [{"agent": "a", "input": "two"}, {"agent": "b"}],
        "tools": {"limits": {"memory.*": {"parallel": 2}}},
        "workers": [{"model": "nano"}],
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("x", "--set x: write it as path=value, for example agents.writer.model=nano"),
        ("=1", "--set =1: write it as path=value, for example agents.writer.model=nano"),
        ("a..b=1", "--set a..b=1: write it as path=value, for example agents.writer.model=nano"),
        (
            "tasks[5].input=x",
            "--set tasks[5].input=x: tasks[5]: the list has length 1; use an index up to 1, which adds an element",
        ),
        ("node[0]=1", "--set node[0]=1: node[0]: has an index, and it is no list"),
        ("node.data.x=1", "--set node.data.x=1: node.data.x: is inside a value that is no table"),
    ],
)
def test_what_cannot_be_set_is_told(override: str, message: str) -> None:
    raw = {"tasks": [{"agent": "a"}], "node": {"data": "d"}}
    mistakes = Mistakes("f")
    apply_override(raw, override, mistakes)
    assert [str(mistake) for mistake in mistakes] == [message]
    assert raw == {"tasks": [{"agent": "a"}], "node": {"data": "d"}}
