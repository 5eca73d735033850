"""Tools from functions: schemas, binding of arguments, and the errors of bad definitions."""

import dataclasses
import datetime
import enum
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypedDict

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.sdk.tool import Tool, ToolDefinitionError, tool
from aios_actors.syscalls.errors import InvalidArgument


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Person:
    name: str


class Options(TypedDict):
    deep: bool


@tool
def exchange_rate(base: str, quote: str = "EUR") -> float:
    """Today's rate of one unit of `base` in `quote`.

    The rate is the central bank's.

    Args:
        base: code of the currency
            that is converted.
        quote (str): code of the other one.

    Returns:
        The rate.
    """
    return 1.5 if (base, quote) == ("USD", "EUR") else 0.0


def test_schema_comes_from_the_signature_and_the_docstring() -> None:
    assert exchange_rate.name == "exchange_rate"
    assert exchange_rate.schema.description == "Today's rate of one unit of `base` in `quote`."
    assert exchange_rate.schema.parameters == {
        "type": "object",
        "properties": {
            "base": {"type": "string", "description": "code of the currency that is converted."},
            "quote": {"type": "string", "default": "EUR", "description": "code of the other one."},
        },
        "required": ["base"],
    }
    assert exchange_rate.usage == "exchange_rate(base: string, quote?: string)"


def test_a_tool_is_still_called_like_its_function() -> None:
    assert exchange_rate("USD") == 1.5
    assert exchange_rate(base="USD", quote="EUR") == 1.5
    assert exchange_rate.__name__ == "exchange_rate"
    assert (exchange_rate.__doc__ or "").startswith("Today's rate")
    assert repr(exchange_rate) == "<Tool exchange_rate(base: string, quote?: string)>"


def test_decorator_takes_name_and_limits() -> None:
    @tool(name="clock.now", timeout=2.5, parallel=3)
    async def now() -> str:
        """The time."""
        return "noon"

    assert (now.name, now.timeout_s, now.parallel, now.is_async) == ("clock.now", 2.5, 3, True)
    assert now.schema.parameters == {"type": "object", "properties": {}, "required": []}
    assert not exchange_rate.is_async


def one(annotation: Any, **default: Any) -> Tool[..., Any]:
    """A tool with one parameter `value` of this type."""

    def function(value: Any = None) -> Any:
        """Takes a value."""
        return value

    function.__annotations__ = {"value": annotation}
    function.__defaults__ = (default["default"],) if default else None
    return tool(function)


SCHEMAS = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (list, {"type": "array"}),
    (dict, {"type": "object"}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    (Literal["a", "b"], {"enum": ["a", "b"]}),
    (Color, {"$ref": "#/$defs/Color"}),
    (Point, {"$ref": "#/$defs/Point"}),
    (Person, {"$ref": "#/$defs/Person"}),
    (Options, {"$ref": "#/$defs/Options"}),
    (datetime.date, {"type": "string", "format": "date"}),
    (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    (Annotated[int, msgspec.Meta(ge=1, le=6)], {"type": "integer", "minimum": 1, "maximum": 6}),
    (Any, {}),
]


@pytest.mark.parametrize(("annotation", "schema"), SCHEMAS, ids=lambda value: str(value)[:30])
def test_schema_of_each_type(annotation: Any, schema: dict[str, Any]) -> None:
    made = one(annotation).schema.parameters
    assert made["properties"]["value"] == schema
    assert made["required"] == ["value"]
    jsonschema.Draft202012Validator.check_schema(made)
    if "$ref" in schema:
        assert schema["$ref"].removeprefix("#/$defs/") in made["$defs"]


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        (Optional[str], None, {"type": "string"}),  # noqa: UP045
        (int | None, None, {"type": "integer"}),
        (int | str | None, None, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (int, 3, {"type": "integer", "default": 3}),
        (Color, Color.RED, {"$ref": "#/$defs/Color", "default": "red"}),
        (list[int], [1], {"type": "array", "items": {"type": "integer"}, "default": [1]}),
    ],
)
def test_a_default_makes_a_parameter_optional(annotation: Any, default: Any, schema: dict[str, Any]) -> None:
    made = one(annotation, default=default)
    assert made.schema.parameters["properties"]["value"] == schema
    assert made.schema.parameters["required"] == []
    assert made.bind({}) == {}
    assert made(**made.bind({})) == default


@pytest.mark.parametrize(
    ("annotation", "value", "bound"),
    [
        (int, 37, 37),
        (int, "37", 37),
        (int, 37.0, 37),
        (float, 3, 3.0),
        (float, "2.5", 2.5),
        (bool, "true", True),
        (str, "x", "x"),
        (str, 518, "518"),
        (str | None, 2.5, "2.5"),
        (Annotated[str, msgspec.Meta(max_length=5)], 12, "12"),
        (int | str, 5, 5),
        (str | None, None, None),
        (list[int], ["1", 2], [1, 2]),
        (Point, {"x": 1}, Point(1)),
        (Person, {"name": "Ann"}, Person("Ann")),
        (Color, "blue", Color.BLUE),
        (Literal["a", "b"], "a", "a"),
        (datetime.date, "2026-11-23", datetime.date(2026, 11, 23)),
        (Any, {"a": [1]}, {"a": [1]}),
    ],
    ids=str,
)
def test_bind_converts(annotation: Any, value: Any, bound: Any) -> None:
    result = one(annotation).bind({"value": value})["value"]
    assert result == bound
    assert type(result) is type(bound)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "many", """argument "value": expected int, got str; it was 'many'"""),
        (int, None, """argument "value": expected int, got null; it was None"""),
        (str, ["a"], """argument "value": expected str, got array; it was ['a']"""),
        (str, True, """argument "value": expected str, got bool; it was True"""),
        (Literal["a", "b"], "c", """argument "value": invalid enum value 'c'; it was 'c'"""),
        (list[int], [1, "x"], """argument "value" (at [1]): expected int, got str; it was [1, 'x']"""),
        (Point, {"y": 1}, """argument "value": object missing required field x; it was {'y': 1}"""),
        (Point, {"x": "u"}, """argument "value" (at x): expected int, got str; it was {'x': 'u'}"""),
        (Annotated[int, msgspec.Meta(ge=1)], 0, """argument "value": expected int >= 1; it was 0"""),
    ],
)
def test_bind_names_the_argument_and_what_it_should_be(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        one(annotation).bind({"value": value})
    assert str(error.value) == message


def test_null_leaves_an_optional_argument_out() -> None:
    assert exchange_rate.bind({"base": "USD", "quote": None}) == {"base": "USD"}
    assert one(int | None, default=5).bind({"value": None}) == {"value": None}
    assert one(Any, default=5).bind({"value": None}) == {"value": None}


def test_bind_refuses_unknown_and_missing_arguments() -> None:
    with pytest.raises(InvalidArgument, match='there is no argument "from": the tool is exchange_rate'):
        exchange_rate.bind({"base": "USD", "from": "EUR"})
    with pytest.raises(InvalidArgument, match='argument "base" is missing: the tool is exchange_rate'):
        exchange_rate.bind({})
    with pytest.raises(InvalidArgument, match="should be an object, not list"):
        exchange_rate.bind([])  # type: ignore[arg-type]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(JSON, st.sampled_from([annotation for annotation, _ in SCHEMAS]))
def test_bind_ends_in_a_value_or_a_typed_error(value: Any, annotation: Any) -> None:
    try:
        one(annotation).bind({"value": value})
    except InvalidArgument as error:
        assert str(error).startswith('argument "value"')


def unhinted(x) -> None:  # type: ignore[no-untyped-def]
    """Does it."""


def starred(*args: int, **kwargs: int) -> None:
    """Does it."""


def undocumented(x: int) -> None: ...


def callback(x: Callable[[], None]) -> None:
    """Does it."""


def opaque(x: Path, y: object) -> None:
    """Does it."""


def positional(x: int, /) -> None:
    """Does it."""


def unresolved(x: "Missing") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Does it."""


def generator(x: int):  # type: ignore[no-untyped-def]
    """Does it."""
    yield x


class Holder:
    def method(self, x: int) -> None:
        """Does it."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unhinted, 'parameter "x" has no type hint; write x: str'),
        (starred, "parameter *args has no fixed names; write each argument out"),
        (undocumented, "has no docstring; say in its first line what the tool does"),
        (callback, 'parameter "x": collections.abc.Callable'),
        (opaque, "parameter \"x\": <class 'pathlib.Path'> has no JSON form; use str"),
        (positional, 'parameter "x" is positional-only; leave out the "/"'),
        (unresolved, "a type hint cannot be resolved (name 'Missing' is not defined); import or define"),
        (generator, "it is a generator; return the whole result"),
        (Holder.method, 'parameter "self" has no type hint; tools are plain functions, not methods'),
    ],
)
def test_a_bad_function_is_refused_with_place_and_remedy(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ToolDefinitionError) as error:
        tool(function)
    line = function.__code__.co_firstlineno
    assert f"test_tool.py:{line}: tool '{function.__name__}': " in str(error.value)
    assert message in str(error.value)


def test_all_that_is_wrong_is_in_one_error() -> None:
    with pytest.raises(ToolDefinitionError) as error:
        tool(name="a b", timeout=0, parallel=0)(starred)
    for part in ("*args", "*kwargs", "name 'a b'", "timeout=0", "parallel=0"):
        assert part in str(error.value)


def test_only_functions_become_tools() -> None:
    with pytest.raises(ToolDefinitionError, match="is no plain function; put @tool on a def"):
        tool(sys.stdout.write)
