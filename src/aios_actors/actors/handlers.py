"""What an actor takes: from `@handler` methods to a dispatch table, checked when the class is made.

Each handler's annotation names one concrete Message type, or a union of them; dispatch is by exact type. A class with
a handler that has no usable annotation, two handlers for one type, a declared type (`takes`) without handler, or a
return annotation that contradicts the message's reply type is refused with a BadActor error that says where and what
to do.
"""

import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from aios_actors.actors.errors import BadActor
from aios_actors.actors.message import Message

F = TypeVar("F", bound=Callable[..., Any])
Table = dict[type, Callable[[Any, Any], Any]]

MARK = "__aios_handler__"


def handler(method: F) -> F:
    """Marks a method `async def name(self, message: SomeMessage) -> Reply` as the handler of that message type.

    A plain `def` is run inline and is faster; it must not block.
    """
    setattr(method, MARK, True)
    return method


def build_table(cls: type, takes: tuple[type, ...]) -> Table:
    """The dispatch table of `cls`, inherited handlers included: message type -> function of (actor, message).

    Raises:
        BadActor: the class has a mistake; says which method, and what to do.
    """
    names: dict[type, str] = {}
    table: Table = {}
    for name in _handler_names(cls):
        method = getattr(cls, name)
        for message_type in _message_types(cls, name, method):
            if message_type in names:
                raise BadActor(
                    f"{cls.__qualname__}: {names[message_type]} and {name} both handle "
                    f"{message_type.__qualname__}; keep one"
                )
            names[message_type] = name
            table[message_type] = method
    for message_type in takes:
        if message_type not in table:
            raise BadActor(f"{cls.__qualname__} takes {message_type.__qualname__} but has no @handler for it; add one")
    return table


def _handler_names(cls: type) -> list[str]:
    """Handler methods in order of definition, base classes first; an override needs no mark of its own."""
    seen: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if getattr(value, MARK, False):
                seen[name] = None
    return [name for name in seen if callable(getattr(cls, name, None))]


def _message_types(cls: type, name: str, method: Callable[..., Any]) -> list[type]:
    """The message type that the method's annotation names, or the members of a union of them."""
    where = f"{cls.__qualname__}.{name}"
    parameters = list(inspect.signature(method).parameters.values())
    if len(parameters) != 2:
        raise BadActor(f"{where}: a handler takes self and one message; write def {name}(self, message: SomeMessage)")
    hints = _hints(where, method)
    annotation = hints.get(parameters[1].name)
    if annotation is None:
        raise BadActor(f"{where}: annotate {parameters[1].name} with the Message type that it handles")
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    members = typing.get_args(annotation) if union else (annotation,)
    return [_concrete(where, member, hints.get("return", Any)) for member in members]


def _concrete(where: str, annotation: Any, returned: Any) -> type:
    """The message type that `annotation` names, if a handler may return `returned` to it."""
    message_type = typing.get_origin(annotation) or annotation
    if not (isinstance(message_type, type) and issubclass(message_type, Message)) or message_type is Message:
        raise BadActor(f"{where}: {annotation!r} is no concrete Message; define class X(Message[Reply]) and use it")
    _check_reply(where, message_type, returned)
    return message_type


def _hints(where: str, method: Callable[..., Any]) -> dict[str, Any]:
    """The method's annotations, resolved; message types that are local to the function defining the class are found
    too.
    """
    local: dict[str, Any] = {}
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != method.__module__:
        frame = frame.f_back  # type: ignore[assignment]
    while frame is not None and frame.f_globals.get("__name__") == method.__module__:
        local = {**frame.f_locals, **local}
        frame = frame.f_back  # type: ignore[assignment]
    try:
        return typing.get_type_hints(method, localns=local)
    except NameError as error:
        raise BadActor(f"{where}: {error}; import or define the annotation's types before the class") from error


def reply_type(message_type: type) -> Any:
    """The R of a `class X(Message[R])`, or Any where it cannot be told."""
    for base in message_type.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            origin = typing.get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, Message):
                argument = typing.get_args(generic)[0]
                return Any if isinstance(argument, TypeVar) else argument
    return Any


def _check_reply(where: str, message_type: type, returned: Any) -> None:
    """Refuses plain classes that have nothing in common; None is allowed, for a handler that defers its reply."""
    expected = reply_type(message_type)
    if expected is None:
        expected = type(None)
    if not (isinstance(expected, type) and isinstance(returned, type)) or returned is type(None):
        return
    if not (issubclass(returned, expected) or (expected, returned) in ((float, int), (complex, float))):
        raise BadActor(
            f"{where} returns {returned.__qualname__}, but {message_type.__qualname__} is a Message"
            f"[{expected.__qualname__}]; make them agree"
        )
