"""From a function's signature to a JSON Schema, and from a model's arguments to the function's types.

Contract: types are what msgspec can both describe and convert: str, int, float, bool, list, dict, tuple, Literal, Enum,
Optional and other unions, Struct, dataclass, TypedDict, datetime and their like, also with constraints by
`Annotated[int, msgspec.Meta(ge=1)]`. Whatever is wrong with a signature is collected, not raised.
"""

import inspect
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from aios_actors.syscalls.errors import InvalidArgument

_ARGS_HEADING = re.compile(r"\s*(Args|Arguments|Parameters):\s*$")
_ARGS_LINE = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


class ToolDefinitionError(TypeError):
    """Raised when a function cannot be made a tool. The message has file and line, what is wrong, and the remedy."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a tool.

    Attributes:
        name: its name.
        type: its annotation.
        schema: JSON Schema of its values, with the description and the default.
        required: whether it has no default.
    """

    name: str
    type: Any
    schema: dict[str, Any]
    required: bool

    @property
    def usage(self) -> str:
        """`name: type`, or `name?: type` if it may be left out."""
        kind = self.schema.get("type", "any")
        return f"{self.name}{'' if self.required else '?'}: {kind if isinstance(kind, str) else '/'.join(kind)}"

    def left_out(self, value: Any) -> bool:
        """Whether `value` is a null by which a model leaves an optional parameter out."""
        return value is None and not self.required and not {type(None), Any} & _members(self.type)

    def convert(self, value: Any) -> Any:
        """The value as the annotated type. Raises InvalidArgument, which names the argument and what it should be."""
        if type(value) in (int, float) and str in _members(self.type) and not {int, float} & _members(self.type):
            return str(value)
        try:
            return msgspec.convert(value, self.type, strict=False)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).replace("`", "").partition(" - at $")
            where = f'"{self.name}"' + (f" (at {path.lstrip('.')})" if path else "")
            wrong = f"{problem[:1].lower()}{problem[1:]}; it was {_short(value)}"
            raise InvalidArgument(f"argument {where}: {wrong}") from None


class Signature(msgspec.Struct, frozen=True):
    """What a function's signature says.

    Attributes:
        where: `file:line` of the function.
        description: first line of its docstring.
        parameters: the parameters that are usable.
        definitions: JSON Schemas of named types, which the parameters refer to as `#/$defs/NAME`.
        problems: what is wrong, each with its remedy.
    """

    where: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    definitions: dict[str, Any] = {}
    problems: tuple[str, ...] = ()


def read_signature(function: Callable[..., Any]) -> Signature:
    """Reads names, types, defaults and descriptions off a function. Never raises."""
    if not inspect.isfunction(function):
        return Signature("?", problems=(f"{function!r} is no plain function; put @tool on a def or an async def",))
    where = f"{_relative(function.__code__.co_filename)}:{function.__code__.co_firstlineno}"
    description, notes = read_docstring(function.__doc__ or "")
    problems = [] if description else ["it has no docstring; say in its first line what the tool does"]
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        problems.append("it is a generator; return the whole result instead of yielding")
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        problems.append(f"a type hint cannot be resolved ({error}); import or define the type at the top of the module")
        return Signature(where, description, problems=tuple(problems))
    parameters, definitions = [], {}
    for name, parameter in inspect.signature(function).parameters.items():
        try:
            made, named = _parameter(parameter, hints, notes.get(name, ""))
        except ToolDefinitionError as error:
            problems.append(str(error))
        else:
            parameters.append(made)
            definitions.update(named)
    return Signature(where, description, tuple(parameters), definitions, tuple(problems))


def describe(parameters: tuple[Parameter, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of the object that holds all arguments."""
    schema = {
        "type": "object",
        "properties": {parameter.name: parameter.schema for parameter in parameters},
        "required": [parameter.name for parameter in parameters if parameter.required],
    }
    return {**schema, "$defs": definitions} if definitions else schema


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first line of a docstring, and the descriptions in its `Args:` section by parameter."""
    lines = inspect.cleandoc(text).splitlines()
    notes: dict[str, str] = {}
    start = next((number for number, line in enumerate(lines) if _ARGS_HEADING.match(line)), len(lines))
    name, indent = "", None
    for line in lines[start + 1 :]:
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth == 0:
            break
        indent = depth if indent is None and line.strip() else indent
        if (match := _ARGS_LINE.match(line.strip())) and depth == indent:
            name = match[1].lstrip("*")
            notes[name] = match[2].strip()
        elif name and line.strip():
            notes[name] = f"{notes[name]} {line.strip()}".strip()
    return (lines[0].strip() if lines else ""), notes


def _parameter(parameter: inspect.Parameter, hints: dict[str, Any], note: str) -> tuple[Parameter, dict[str, Any]]:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ToolDefinitionError(f"parameter *{name} has no fixed names; write each argument out, or take a list")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ToolDefinitionError(f'parameter "{name}" is positional-only; leave out the "/"')
    if name not in hints:
        method = name in ("self", "cls")
        remedy = "tools are plain functions, not methods" if method else f"write {name}: str, or its like"
        raise ToolDefinitionError(f'parameter "{name}" has no type hint; {remedy}')
    hint = hints[name]
    try:
        (schema,), definitions = msgspec.json.schema_components([hint], ref_template="#/$defs/{name}")
        msgspec.json.Decoder(hint)
    except (TypeError, RecursionError) as error:
        raise ToolDefinitionError(
            f'parameter "{name}": {hint!r} has no JSON form; use str, int, float, bool, list, dict, Literal, '
            f"a Struct or a dataclass ({str(error).splitlines()[0]})"
        ) from None
    required = parameter.default is parameter.empty
    if parameter.default is None:
        schema = _without_null(schema)
    elif not required:
        schema = {**schema, **_default(parameter.default)}
    if note:
        schema = {**schema, "description": note}
    return Parameter(name, hint, schema, required), dict(definitions)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional parameter, which a model leaves out rather than passing null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if not options:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **(options[0] if len(options) == 1 else {"anyOf": options})}


def _default(value: Any) -> dict[str, Any]:
    try:
        return {"default": msgspec.to_builtins(value)}
    except TypeError:
        return {}


def _members(hint: Any) -> set[Any]:
    """The members of a union, constraints aside; of any other type, itself."""
    if get_origin(hint) in (Union, types.UnionType):
        return {member for option in get_args(hint) for member in _members(option)}
    return {get_args(hint)[0] if hasattr(hint, "__metadata__") else hint}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _relative(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
