"""Answers of syscalls as bytes, and back to the same types.

Contract: `unpack(pack(value)) == value`, with the same type at every level: plain values, tuples, lists, dicts, sets,
Structs, dataclasses, enums, the other types that msgspec converts (dates, UUIDs, decimals), and refusals with all their
attributes. Only such types are made on reading, whatever the bytes say; no code of theirs runs. What cannot be kept
raises InvalidArgument.
"""

import dataclasses
import enum
import importlib
from typing import Any

import msgspec

from aios_actors.actors import Refusal
from aios_actors.syscalls.errors import InvalidArgument

_PLAIN = (type(None), bool, float, str, bytes)
_SEQUENCES: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def pack(value: Any) -> bytes:
    """The value as bytes. Raises InvalidArgument for one that cannot be kept."""
    return msgspec.msgpack.encode(_plain(value))


def unpack(data: bytes) -> Any:
    """What `pack` made. Raises InvalidArgument if its types are no longer there."""
    return _value(msgspec.msgpack.decode(data))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else ["int", str(value)]
    if kind.__name__ in _SEQUENCES and kind is _SEQUENCES[kind.__name__]:
        return [kind.__name__, [_plain(item) for item in value]]
    if kind is dict:
        return ["dict", [[_plain(key), _plain(item)] for key, item in value.items()]]
    if isinstance(value, msgspec.Struct):
        return ["struct", _name(kind), [_plain(getattr(value, field)) for field in value.__struct_fields__]]
    if dataclasses.is_dataclass(value):
        return ["dataclass", _name(kind), [[f.name, _plain(getattr(value, f.name))] for f in dataclasses.fields(value)]]
    if isinstance(value, enum.Enum):
        return ["enum", _name(kind), _plain(value.value)]
    if isinstance(value, Refusal):
        return ["refusal", _name(kind), _plain(value.args), _plain(dict(vars(value)))]
    try:
        return ["other", _name(kind), msgspec.to_builtins(value)]
    except TypeError as error:
        problem = f"a {kind.__name__} cannot be kept in a journal ({error}); use Structs and lists"
        raise InvalidArgument(problem) from error


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _value(plain: Any) -> Any:
    if not isinstance(plain, list):
        return plain
    tag, *rest = plain
    if tag == "int":
        return int(rest[0])
    if tag == "dict":
        return {_value(key): _value(item) for key, item in rest[0]}
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](_value(item) for item in rest[0])
    return _made(tag, _type(rest[0]), *rest[1:])


def _made(tag: str, kind: Any, *parts: Any) -> Any:
    """A value of a class of its own, its fields set as they were."""
    if tag == "struct" and issubclass(kind, msgspec.Struct):
        return kind(**dict(zip(kind.__struct_fields__, map(_value, parts[0]), strict=True)))
    made: Any
    if tag == "dataclass" and hasattr(kind, "__dataclass_fields__"):
        made = object.__new__(kind)
        for name, value in parts[0]:
            object.__setattr__(made, name, _value(value))
        return made
    if tag == "enum" and issubclass(kind, enum.Enum):
        return kind(_value(parts[0]))
    if tag == "refusal" and issubclass(kind, Refusal):
        made = kind.__new__(kind, *_value(parts[0]))
        made.__dict__.update(_value(parts[1]))
        return made
    if tag == "other":
        return msgspec.convert(parts[0], kind)
    raise InvalidArgument(f"the journal holds a {tag} of {kind!r}, which is none; was it made by another program?")


def _type(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument(f"the journal holds a {name}, which is not there any more: {error}") from error
    if not isinstance(found, type):
        raise InvalidArgument(f"the journal holds a value of type {name}, which is no type")
    return found
