"""Which tools there are, and each one's limits.

Contract: names are unique. The kernel's own tools are always there and come first; others follow in the order in which
they were added.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from aios_actors.config.structs import ToolLimits
from aios_actors.engine.messages import ToolSchema
from aios_actors.kernel.tool.builtin import kernel_tools
from aios_actors.sdk.tool import Tool, ToolDefinitionError
from aios_actors.syscalls.errors import InvalidArgument, NotFound


class ToolRegistry:
    """Tools by name."""

    def __init__(self, tools: Iterable[Tool[..., Any]] = (), limits: Mapping[str, ToolLimits] | None = None) -> None:
        """Holds the kernel's tools and `tools`.

        Args:
            tools: more tools.
            limits: limits by name or pattern, which go before those that the tools name; a name goes before a pattern.

        Raises:
            ToolDefinitionError: two tools have the same name.
        """
        self._limits = dict(limits or {})
        self._tools: dict[str, Tool[..., Any]] = {}
        for each in (*kernel_tools(), *tools):
            self.add(each)

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool[..., Any]]:
        return iter(self._tools.values())

    def __repr__(self) -> str:
        return f"<ToolRegistry {', '.join(self._tools)}>"

    def add(self, tool: Tool[..., Any]) -> None:
        """Adds a tool; one that is here already may be added again.

        Raises:
            ToolDefinitionError: another tool has its name.
        """
        known = self._tools.setdefault(tool.name, tool)
        if known.function is not tool.function:
            raise ToolDefinitionError(
                f"{tool.where}: there is a tool named {tool.name!r} already, in {known.where}; "
                f'give one of them another name with @tool(name="...")'
            )

    def get(self, name: str) -> Tool[..., Any]:
        """The tool of that name. Raises NotFound, InvalidArgument."""
        if not isinstance(name, str):
            raise InvalidArgument(f"the name of a tool should be a string, not {name!r}")
        if name not in self._tools:
            close = get_close_matches(name, self._tools, n=1)
            raise NotFound(f'no tool named "{name}"' + (f'; did you mean "{close[0]}"?' if close else ""))
        return self._tools[name]

    def limits(self, name: str) -> ToolLimits:
        """The config's limits for a tool, by its name or else by the first pattern that fits; open ones are None."""
        if name in self._limits:
            return self._limits[name]
        return next((limits for pattern, limits in self._limits.items() if fnmatchcase(name, pattern)), ToolLimits())

    def fitting(self, patterns: Iterable[str]) -> tuple[ToolSchema, ...]:
        """The schemas of the tools whose names fit a pattern, in the order of the patterns, each once."""
        names = {name: None for pattern in patterns for name in self._tools if fnmatchcase(name, pattern)}
        return tuple(self._tools[name].schema for name in names)
