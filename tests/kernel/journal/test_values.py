"""Answers as bytes: the same value of the same type comes back, and nothing else can be made."""

import datetime
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.kernel.journal.values import pack, unpack
from aios_actors.syscalls.errors import ContextOverflow, InvalidArgument, NotFound
from aios_actors.syscalls.llm import ChatReply, Usage
from aios_actors.syscalls.memory import Note


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: tuple[float, ...]


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers())
        | st.builds(Point, st.integers(), st.lists(st.floats(allow_nan=False)).map(tuple))
        | st.builds(Note, st.integers(), st.text(), st.lists(st.text()).map(tuple))
    ),
    max_leaves=20,
)


def types(value: Any) -> Any:
    """The types at every level."""
    if isinstance(value, list | tuple):
        return [type(value), *map(types, value)]
    return [type(value), *map(types, value.values())] if isinstance(value, dict) else type(value)


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    back = unpack(pack(value))
    assert back == value and types(back) == types(value)


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        uuid.UUID(int=7),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        ChatReply("text", (), "stop", Usage(tokens_in=3)),
        2**100,
    ],
)
def test_other_types_come_back_as_they_were(value: Any) -> None:
    assert unpack(pack([value])) == [value]


def test_an_error_comes_back_with_all_it_says() -> None:
    error = unpack(pack(ContextOverflow("too long", 300, 256)))
    assert isinstance(error, ContextOverflow)
    assert (str(error), error.tokens, error.window) == ("too long", 300, 256)
    assert str(unpack(pack(NotFound("no note 7")))) == "no note 7"


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="cannot be kept"):
        pack(object())


@pytest.mark.parametrize("name", ["os:system", "nowhere:Thing", "builtins:object", "subprocess:Popen", "os:gone"])
def test_bytes_that_name_other_types_make_nothing(name: str) -> None:
    for tag in ("struct", "dataclass", "refusal", "enum"):
        with pytest.raises(InvalidArgument, match="the journal holds"):
            unpack(msgspec.msgpack.encode([tag, name, [], []]))
