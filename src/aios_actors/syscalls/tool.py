"""Syscalls of the tool service: what tools there are, and calling one."""

from typing import Any, ClassVar

from aios_actors.engine.messages import ToolSchema
from aios_actors.syscalls.base import Syscall


class ListTools(Syscall[tuple[ToolSchema, ...]], frozen=True):
    """The schemas of the tools whose names fit one of `patterns` (`memory.*`), in the patterns' order."""

    verb: ClassVar[str] = "tool.list"
    patterns: tuple[str, ...] = ("*",)


class CallTool(Syscall[Any], frozen=True):
    """Call the tool `name`. Reply: what it returned.

    Errors: NotFound, InvalidArgument (with the argument and what it should be), ToolFailed, ToolTimeout,
    AccessDenied; and, for a tool that stands for another syscall (`memory.add`), the errors of that.
    """

    verb: ClassVar[str] = "tool.call"
    name: str
    arguments: dict[str, Any]

    def resource(self) -> str:
        return self.name
