"""The tool service: Python functions and the kernel's own services as tools for models."""

from aios_actors.kernel.tool.actor import AddTools, Tool
from aios_actors.kernel.tool.builtin import kernel_tools
from aios_actors.kernel.tool.registry import ToolRegistry

__all__ = ["AddTools", "Tool", "ToolRegistry", "kernel_tools"]
