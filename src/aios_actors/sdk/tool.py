"""Tools: Python functions that a model can call.

Contract: `@tool` makes a `Tool` of a function with typed parameters. What the model is told comes from the function:
its name, the first line of its docstring, the `Args:` section, the type hints. A mistake in the signature is an error
where the tool is defined. A `Tool` is still called like its function; `bind` checks a model's arguments before a call.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from aios_actors.engine.messages import ToolSchema
from aios_actors.sdk.signature import Parameter, ToolDefinitionError, describe, read_signature
from aios_actors.syscalls.errors import InvalidArgument

__all__ = ["Tool", "ToolDefinitionError", "tool"]

P = ParamSpec("P")
R = TypeVar("R")

TIMEOUT_S = 30.0
PARALLEL = 16
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Tool(Generic[P, R]):
    """A function as a tool.

    Attributes:
        function: the function itself.
        name: what the model calls it by.
        timeout_s: seconds that one call may take.
        parallel: calls that may run at the same time; more wait.
        parameters: its parameters.
        schema: what the model is told.
        where: file and line of the function.
    """

    def __init__(self, function: Callable[P, R], name: str = "", timeout: float = TIMEOUT_S, parallel: int = PARALLEL):
        """Makes a tool; `name` "" takes the function's.

        Raises:
            ToolDefinitionError: the function cannot be a tool; the message lists all that is wrong.
        """
        signature = read_signature(function)
        problems = list(signature.problems)
        self.function = function
        self.name = name or getattr(function, "__name__", "")
        self.timeout_s = timeout
        self.parallel = parallel
        self.where = signature.where
        self.parameters: tuple[Parameter, ...] = signature.parameters
        self.is_async = inspect.iscoroutinefunction(function)
        if not _NAME.fullmatch(self.name):
            problems.append(f"the name {self.name!r} should have letters, digits, _ . - only; set another by name=")
        if not timeout > 0:
            problems.append(f"timeout={timeout!r} should be a number of seconds above 0")
        if not (isinstance(parallel, int) and parallel >= 1):
            problems.append(f"parallel={parallel!r} should be a whole number of at least 1")
        if problems:
            raise ToolDefinitionError(f"{self.where}: tool {self.name!r}: " + "; ".join(problems))
        self.schema = ToolSchema(self.name, signature.description, describe(self.parameters, signature.definitions))
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", self.name)
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function as it is, unchecked."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.usage}>"

    @property
    def usage(self) -> str:
        """How it is called: `name(parameter: type, optional?: type)`."""
        return f"{self.name}({', '.join(parameter.usage for parameter in self.parameters)})"

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call, checked and converted to the annotated types.

        Text that spells a number or a boolean is taken for one where one is wanted, a number for text, and null for an
        optional argument that was left out.

        Raises:
            InvalidArgument: one is missing, unknown or of the wrong type; the message names it and what is expected.
        """
        if not isinstance(arguments, dict):
            raise InvalidArgument(f"the arguments of {self.usage} should be an object, not {type(arguments).__name__}")
        known = {parameter.name for parameter in self.parameters}
        for name in arguments:
            if name not in known:
                raise InvalidArgument(f'there is no argument "{name}": the tool is {self.usage}')
        bound = {}
        for parameter in self.parameters:
            if parameter.name in arguments:
                value = arguments[parameter.name]
                if not parameter.left_out(value):
                    bound[parameter.name] = parameter.convert(value)
            elif parameter.required:
                raise InvalidArgument(f'argument "{parameter.name}" is missing: the tool is {self.usage}')
        return bound


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *, name: str = "", timeout: float = TIMEOUT_S, parallel: int = PARALLEL
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None, /, *, name: str = "", timeout: float = TIMEOUT_S, parallel: int = PARALLEL
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Makes a function a tool; works as `@tool` and as `@tool(...)`.

    Args:
        function: has type hints on all parameters, and a docstring whose first line says what it does. A plain function
            runs in a thread, an async one on the node's event loop.
        name: what the model calls it by; the function's name if not given.
        timeout: seconds that one call may take.
        parallel: calls that may run at the same time; more wait.

    Raises:
        ToolDefinitionError: the function cannot be a tool; the message has file, line, all mistakes and the remedies.
    """
    if function is None:
        return lambda function: Tool(function, name, timeout, parallel)
    return Tool(function, name, timeout, parallel)
