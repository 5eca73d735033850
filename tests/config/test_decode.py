"""Decoding: every mistake is found, with its path; what is right survives."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.config.decode import decode
from aios_actors.config.mistakes import Mistakes
from aios_actors.config.structs import Config


def found(raw: dict[str, Any]) -> dict[str, str]:
    mistakes = Mistakes("f")
    decode(raw, Config, mistakes)
    return {mistake.path: mistake.message for mistake in mistakes}


def test_right_values_become_structs() -> None:
    mistakes = Mistakes("f")
    raw = {
        "node": {"drain_s": 5},
        "agents": {"a": {"class": "m:C", "tools": ["x"]}},
        "tasks": [{"agent": "a", "input": "i"}],
    }
    config = decode(raw, Config, mistakes)
    assert not list(mistakes)
    assert config.node.drain_s == 5.0
    assert config.agents["a"].class_ == "m:C"
    assert config.agents["a"].tools == ("x",)
    assert config.tasks[0].input == "i"


def test_all_mistakes_are_found_at_once() -> None:
    raw = {
        "nod": {},
        "node": {"log_level": "warn", "drain_s": 0},
        "workers": [{"model": "a", "count": 0}, {"sequences": 1.5, "model": "b"}],
        "agents": {"a b": {"modle": "nano"}},
        "tools": {"limits": {"memory.*": {"parallel": "many"}}},
        "tasks": ["x", {"agent": "a", "input": 7}],
    }
    assert found(raw) == {
        "nod": 'unknown key; did you mean "node"?',
        "node.log_level": '"warn" is not possible here; did you mean "warning"?',
        "node.drain_s": "must be a number > 0.0, and it is 0",
        "workers[0].count": "must be a whole number >= 1, and it is 0",
        "workers[1].sequences": "must be a whole number, got a number",
        'agents."a b".modle': 'unknown key; did you mean "model"?',
        'agents."a b".class': 'missing; add class = ... to agents."a b"',
        'tools.limits."memory.*".parallel': "must be a whole number, got text in quotes",
        "tasks[0]": "must be a table, got text in quotes",
        "tasks[1].input": "must be text in quotes, got a whole number",
    }


def test_unlike_keys_list_what_there_is() -> None:
    message = found({"groups": {"g": {"zzz": 1, "members": [], "grants": []}}})["groups.g.zzz"]
    assert message == 'unknown key; there is "grants", "members"'


def test_an_element_of_a_wrong_type_has_its_index() -> None:
    assert found({"agents": {"a": {"class": "m:C", "tools": ["x", 3]}}}) == {
        "agents.a.tools[1]": "must be text in quotes, got a whole number"
    }


def test_a_wrong_value_is_replaced_by_its_default() -> None:
    config = decode({"node": {"drain_s": "x", "data": "d"}}, Config, Mistakes("f"))
    assert (config.node.drain_s, config.node.data) == (30.0, "d")


_KEYS = st.sampled_from(
    ["node", "models", "workers", "agents", "tasks", "groups", "tools", "class", "model", "x", "count"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_any_table_decodes_and_agrees_with_msgspec(raw: dict[str, Any]) -> None:
    mistakes = Mistakes("f")
    config = decode(raw, Config, mistakes)
    try:
        expected = msgspec.convert(raw, Config)
    except msgspec.ValidationError:
        assert len(mistakes)
    else:
        assert not len(mistakes)
        assert config == expected
