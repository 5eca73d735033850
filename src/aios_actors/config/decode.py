"""Decodes plain TOML values into the config's Structs and notes every mistake, where msgspec stops at the first.

Contract: `decode` always returns a Struct: what is wrong is noted and replaced by its default (or an empty value where
the field is required), so that checks of the rest can go on. The walk covers what the Structs in structs.py are made
of: Structs, `dict[str, T]`, `tuple[T, ...]`; every other type is a leaf, which msgspec converts and judges.
"""

import re
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from aios_actors.config.mistakes import Mistakes, join, suggest

T = TypeVar("T", bound=msgspec.Struct)

_SAID_BY_MSGSPEC = {
    "`int`": "a whole number", "`float`": "a number", "`str`": "text in quotes", "`bool`": "true or false",
    "`array`": "a list", "`object`": "a table", "`null`": "nothing", "`datetime`": "a date", "`date`": "a date",
    "`time`": "a time",
}  # fmt: skip
_PATH_IN_MESSAGE = re.compile(r" - at `\$(.*)`$")


def decode(raw: dict[str, Any], struct: type[T], mistakes: Mistakes) -> T:
    """Converts `raw` to `struct`; notes all that is wrong in `mistakes`."""
    return msgspec.convert(_table(raw, struct, "", mistakes), struct)


def _walk(value: Any, kind: Any, path: str, mistakes: Mistakes) -> Any:
    """`value` with all that does not fit `kind` replaced; UNSET if it does not fit as a whole."""
    origin = get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _table(value, kind, path, mistakes)
    if origin is dict and isinstance(value, dict):
        item = get_args(kind)[1]
        return {key: _item(each, item, join(path, key), mistakes) for key, each in value.items()}
    if origin is tuple and isinstance(value, list):
        item = get_args(kind)[0]
        return [_item(each, item, join(path, index), mistakes) for index, each in enumerate(value)]
    return _leaf(value, kind, path, mistakes)


def _table(value: dict[str, Any], struct: type[msgspec.Struct], path: str, mistakes: Mistakes) -> dict[str, Any]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in value:
        if key not in fields:
            mistakes.add(join(path, key), f"unknown key{suggest(key, fields)}")
    fitting = {}
    for key, field in fields.items():
        if key in value:
            fitting[key] = _walk(value[key], field.type, join(path, key), mistakes)
        elif field.required:
            mistakes.add(join(path, key), f"missing; add {key} = ... to {path or 'the file'}")
        if fitting.get(key, msgspec.UNSET) is msgspec.UNSET:
            fitting.pop(key, None)
            if field.required:
                fitting[key] = _empty(field.type)
    return fitting


def _item(value: Any, kind: Any, path: str, mistakes: Mistakes) -> Any:
    fitting = _walk(value, kind, path, mistakes)
    return _empty(kind) if fitting is msgspec.UNSET else fitting


def _leaf(value: Any, kind: Any, path: str, mistakes: Mistakes) -> Any:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        inner = _PATH_IN_MESSAGE.search(str(error))
        mistakes.add(path + (inner[1] if inner else ""), _explain(str(error), value, kind))
        return msgspec.UNSET
    return value


def _explain(message: str, value: Any, kind: Any) -> str:
    """msgspec's message in the words of someone who writes TOML."""
    options = get_args(kind) if get_origin(kind) is Literal else ()
    if options and isinstance(value, str):
        return f'"{value}" is not possible here{suggest(value, options)}'
    text = _PATH_IN_MESSAGE.sub("", message).replace(" | null", "")
    for said, meant in _SAID_BY_MSGSPEC.items():
        text = text.replace(said, meant)
    text = text.replace(" | nothing", "").replace("Object missing", "missing").replace("Expected", "must be")
    return text if "got" in text else f"{text}, and it is {value!r}"


def _empty(kind: Any) -> Any:
    """A value that converts to `kind` and says nothing: "", 0, [], or a table of such."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _empty(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return _empty(get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {each.encode_name: _empty(each.type) for each in msgspec.structs.fields(kind) if each.required}
    return {tuple: [], dict: {}, str: "", int: 0, float: 0.0, bool: False}[origin or kind]
