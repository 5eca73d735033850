"""The registry: names, patterns, limits, and the kernel's own tools."""

import pytest

from aios_actors.config.structs import ToolLimits
from aios_actors.kernel.tool import ToolRegistry, kernel_tools
from aios_actors.kernel.tool.builtin import SyscallTool
from aios_actors.nano.world import BUILT_IN
from aios_actors.sdk.tool import ToolDefinitionError, tool
from aios_actors.syscalls import agent, memory, storage
from aios_actors.syscalls.base import Syscall
from aios_actors.syscalls.errors import NotFound


@tool(timeout=3, parallel=2)
def lookup(word: str) -> str:
    """Looks a word up."""
    return word


@pytest.mark.parametrize("name", BUILT_IN)
def test_kernel_tools_are_what_the_embedded_model_is_trained_on(name: str) -> None:
    schema = ToolRegistry().get(name).schema
    spec = BUILT_IN[name].schema()["function"]
    assert {"name": schema.name, "description": schema.description, "parameters": schema.parameters} == spec


@pytest.mark.parametrize(
    ("name", "arguments", "syscall"),
    [
        ("memory.add", {"text": "x"}, memory.Add("x")),
        ("memory.search", {"query": "x"}, memory.Search("x")),
        ("memory.ids", {"query": "x"}, memory.Search("x", limit=20)),
        ("memory.get", {"id": "3"}, memory.Get(3)),
        ("memory.update", {"id": 3, "text": "x"}, memory.Update(3, "x")),
        ("memory.remove", {"id": 3}, memory.Remove(3)),
        ("storage.write", {"path": "f", "content": 518}, storage.Write("f", "518")),
        ("storage.read", {"path": "f"}, storage.Read("f")),
        ("storage.append", {"path": "f", "content": "x"}, storage.Append("f", "x")),
        ("storage.list", {}, storage.ListFiles()),
        ("storage.create", {"path": "f", "content": "x"}, storage.Create("f", "x")),
        ("storage.delete", {"path": "f"}, storage.Delete("f")),
        ("storage.history", {"path": "f"}, storage.History("f")),
        ("storage.rollback", {"path": "f", "version": 2}, storage.Rollback("f", 2)),
        ("agents.ask", {"agent": "clerk", "task": "x"}, agent.AskAgent("clerk", "x")),
    ],
)
def test_service_tools_make_their_syscalls(name: str, arguments: dict[str, object], syscall: Syscall[object]) -> None:
    made = ToolRegistry().get(name)
    assert isinstance(made, SyscallTool)
    assert made(**made.bind(arguments)) == syscall


def test_patterns_choose_in_their_order_and_once() -> None:
    registry = ToolRegistry([lookup])
    names = [schema.name for schema in registry.fitting(["lookup", "storage.re*", "*.add", "look*", "nothing"])]
    assert names == ["lookup", "storage.read", "memory.add"]
    assert [schema.name for schema in registry.fitting(["*"])] == [each.name for each in registry]
    assert len(registry) == len(kernel_tools()) + 1
    assert registry.fitting([]) == ()


def test_names_are_unique() -> None:
    registry = ToolRegistry([lookup])
    registry.add(lookup)

    @tool(name="lookup")
    def other(word: str) -> str:
        """Another one."""
        return word

    with pytest.raises(
        ToolDefinitionError, match=r"a tool named 'lookup' already, in .*test_registry.py:\d+; give one"
    ):
        registry.add(other)
    assert registry.get("lookup") is lookup


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(NotFound, match='^no tool named "lookupp"; did you mean "lookup"\\?$'):
        ToolRegistry([lookup]).get("lookupp")
    with pytest.raises(NotFound, match='^no tool named "xyz"$'):
        ToolRegistry().get("xyz")


def test_limits_come_from_the_name_then_a_pattern() -> None:
    named, fitting = ToolLimits(timeout_s=1), ToolLimits(timeout_s=2)
    assert ToolRegistry([lookup], {"l*": fitting, "lookup": named}).limits("lookup") is named
    assert ToolRegistry([lookup], {"l*": fitting}).limits("lookup") is fitting
    assert ToolRegistry([lookup], {"m*": fitting}).limits("lookup") == ToolLimits()
    assert repr(ToolRegistry([lookup])).endswith("agents.ask, lookup>")
