"""Imports what a config names: agent classes (`module:Class`) and modules of tools.

Contract: modules are looked up beside the config, in its parent folder and in the working folder, and then where Python
looks anyhow. Whatever goes wrong raises `ImportProblem`, whose message is for the user and names the file and line in
the user's own code where there is one.
"""

import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aios_actors.config.mistakes import suggest

if TYPE_CHECKING:
    from aios_actors.kernel.scheduler.policies import Policy
    from aios_actors.sdk import Agent
    from aios_actors.sdk.tool import Tool

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ImportProblem(Exception):
    """Raised when a module or class that the config names cannot be used; the message says why and what to do."""


def extend_import_path(config: Path) -> None:
    """Puts the folders in which a config's modules are looked up in front of Python's import path."""
    folder = config.resolve().parent
    wanted = [str(folder), str(folder.parent), str(Path.cwd())]
    sys.path[:] = [*dict.fromkeys(wanted), *(each for each in sys.path if each not in wanted)]
    importlib.invalidate_caches()


def load_module(name: str) -> ModuleType:
    """Imports a module.

    Raises:
        ImportProblem: it does not exist, or its code raises.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            folders = ", ".join(dict.fromkeys(sys.path[:3]))
            there = _siblings(error.name)
            hint = suggest(error.name, there) if there else ""
            raise ImportProblem(
                f'no module named "{error.name}" in {folders} or among the installed ones{hint}'
            ) from error
        raise ImportProblem(f'importing "{name}" fails: {_blame(error)}') from error
    except Exception as error:
        raise ImportProblem(f'importing "{name}" fails: {_blame(error)}') from error


def load_class(spec: str) -> "type[Agent]":
    """Imports the agent class that `module:Class` names.

    Raises:
        ImportProblem: there is no such module or class, or it is no `aios_actors.Agent`.
    """
    from aios_actors.sdk import Agent

    module_name, colon, class_name = spec.partition(":")
    if not (module_name and colon and class_name):
        raise ImportProblem(f'"{spec}" is no class; write "module:Class", for example "agents.assistant:Assistant"')
    module = load_module(module_name)
    found = getattr(module, class_name, None)
    if found is None:
        agents = [name for name, each in vars(module).items() if _is_agent(each, Agent) and each is not Agent]
        raise ImportProblem(f'module "{module_name}" has no class named "{class_name}"{suggest(class_name, agents)}')
    if not _is_agent(found, Agent):
        raise ImportProblem(f'"{spec}" is no agent; make it a class that derives from aios_actors.Agent')
    return found  # type: ignore[no-any-return]  # _is_agent has checked it


def load_policy(name: str) -> "type[Policy]":
    """Imports the scheduling policy of this name.

    Raises:
        ImportProblem: there is no such policy, or it is none.
    """
    from aios_actors.kernel.scheduler.policies import POLICIES, UnknownPolicy, find_policy

    module, colon, _ = name.partition(":")
    if colon:
        load_module(module)
    elif name not in POLICIES:
        raise ImportProblem(f'"{name}" is not possible here{suggest(name, POLICIES)}; "module:Class" names your own')
    try:
        return find_policy(name)
    except UnknownPolicy as problem:
        raise ImportProblem(str(problem)) from problem


def tools_of(module: ModuleType) -> "list[Tool[..., Any]]":
    """The `@tool` functions of a module."""
    from aios_actors.sdk.tool import Tool

    return [each for each in vars(module).values() if isinstance(each, Tool)]


def option_problems(agent: type, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the constructor of a class says to options: pairs of an option's name and what is wrong with it."""
    parameters = inspect.signature(agent).parameters.values()
    named = {each.name: each for each in parameters if each.kind in _NAMED}
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    for name in options:
        if name not in named and not takes_any:
            yield name, f"{agent.__name__} takes no such option{suggest(name, named)}"
    for name, parameter in named.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            yield name, f"missing; {agent.__name__} needs it"


def _siblings(name: str) -> list[str]:
    """The modules there are in the package that `name` was looked for in, if that is one."""
    parent = name.rpartition(".")[0]
    places = getattr(sys.modules.get(parent), "__path__", ())
    return [f"{parent}.{each.name}" for each in pkgutil.iter_modules(places)]


def _is_agent(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _blame(error: Exception) -> str:
    """An exception in one line, with the last place in a file that is not Python's import machinery."""
    from aios_actors.sdk.tool import ToolDefinitionError

    if isinstance(error, ToolDefinitionError):
        return str(error)  # begins with file and line itself
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename]
    own = [each for each in frames if "aios_actors" not in Path(each.filename).parts]
    place = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {error}"
