"""The tools that the nano model learns to use, and a small world that answers their calls.

`BUILT_IN` repeats the names, parameters and descriptions of the node's own tools; a test compares the two. A `World`
holds files, facts, other agents and the look-up tables of unseen tools, and answers a call with the text that the
node's tool would give; a call that fails answers `error: ...`, as the node does. Training and evaluation share this
simulator; the benchmark runs the same tasks against the real tools.
"""

import ast
import json
import operator
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from msgspec import Struct

Arguments = Mapping[str, object]


class Parameter(Struct, frozen=True):
    """One parameter of a tool. `kind` is a JSON Schema type."""

    name: str
    kind: str = "string"
    required: bool = True


class ToolSpec(Struct, frozen=True):
    """A tool as the model sees it. `answers` maps `lookup_key(arguments)` to a result, for made-up tools."""

    name: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    answers: dict[str, str] = {}

    def schema(self) -> dict[str, object]:
        """The tool in the form of the OpenAI API, as the chat template takes it."""
        parameters = {
            "type": "object",
            "properties": {parameter.name: {"type": parameter.kind} for parameter in self.parameters},
            "required": [parameter.name for parameter in self.parameters if parameter.required],
        }
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


def _tool(name: str, description: str, *parameters: str) -> ToolSpec:
    """A tool whose parameters are given as `name` (a string) or `name: kind`."""
    split = (parameter.partition(": ") for parameter in parameters)
    return ToolSpec(name, description, tuple(Parameter(name, kind or "string") for name, _, kind in split))


BUILT_IN = {
    spec.name: spec
    for spec in (
        _tool("calculator", "Evaluates an arithmetic expression.", "expression"),
        _tool("memory.add", "Remembers a fact.", "text"),
        _tool("memory.search", "Finds remembered facts.", "query"),
        _tool("storage.write", "Writes a file.", "path", "content"),
        _tool("storage.read", "Reads a file.", "path"),
        _tool("storage.append", "Appends a line to a file.", "path", "content"),
        _tool("storage.list", "Lists the files."),
        _tool("agents.ask", "Hands a task to another agent and returns its answer.", "agent", "task"),
    )
}


# The node's other tools: the model is not trained to call them, only not to be confused by them.
OTHERS = (
    _tool("memory.ids", "Lists the ids of remembered facts.", "query"),
    _tool("memory.get", "Returns the remembered fact with an id.", "id: integer"),
    _tool("memory.update", "Replaces the remembered fact with an id.", "id: integer", "text"),
    _tool("memory.remove", "Forgets the remembered fact with an id.", "id: integer"),
    _tool("storage.create", "Makes a new file, and fails if there is one already.", "path", "content"),
    _tool("storage.delete", "Deletes a file.", "path"),
    _tool("storage.history", "Lists the versions of a file.", "path"),
    _tool("storage.rollback", "Brings an old version of a file back.", "path", "version: integer"),
)


def lookup_key(arguments: Arguments) -> str:
    """The key of a call in `ToolSpec.answers`: its arguments as JSON with sorted keys, whole floats as integers."""
    plain = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in arguments.items()
    }
    return json.dumps(plain, sort_keys=True)


_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate(expression: str) -> str:
    """The value of an expression over + - * / and parentheses: exact if whole, else to ten significant digits.

    Raises:
        ValueError: the text is no such expression, or divides by zero.
    """

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -walk(node.operand)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return Fraction(str(node.value))
        raise ValueError(f"not an arithmetic expression: {expression}")

    try:
        result = walk(ast.parse(expression, mode="eval").body)
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except SyntaxError:
        raise ValueError(f"not an arithmetic expression: {expression}") from None
    return str(result.numerator) if result.denominator == 1 else f"{float(result):.10g}"


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


@dataclass
class World:
    """What the tools act on. `noise` disturbs the order of equally good search results, on which no one should rely."""

    files: dict[str, str] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] = ()
    noise: random.Random | None = None

    def call(self, name: str, arguments: Arguments) -> str:
        """The text that tool `name` answers; what goes wrong is an answer too, beginning with `error: `."""
        spec = next((tool for tool in self.tools if tool.name == name), None)
        if spec is None:
            return f'error: no tool named "{name}"'
        expected = {parameter.name for parameter in spec.parameters if parameter.required}
        if not expected <= set(arguments) <= {parameter.name for parameter in spec.parameters}:
            return f"error: {name} takes {', '.join(sorted(expected)) or 'no arguments'}"
        if name not in BUILT_IN:
            return spec.answers.get(lookup_key(arguments), "error: nothing known about these arguments")
        text = {key: str(argument) for key, argument in arguments.items()}
        method: Callable[..., str] = getattr(self, "_" + name.replace(".", "_"))
        return method(**text)

    def _calculator(self, expression: str) -> str:
        try:
            return evaluate(expression)
        except ValueError as error:
            return f"error: {error}"

    def _memory_add(self, text: str) -> str:
        self.facts.append(text)
        return "saved"

    def _memory_search(self, query: str) -> str:
        wanted = _words(query) - {"of", "the"}
        scored = []
        for fact in self.facts:
            overlap = len(wanted & _words(fact)) + (self.noise.uniform(0, 0.9) if self.noise else 0.0)
            scored.append((overlap, fact))
        scored.sort(key=lambda pair: -pair[0])
        return "\n".join(fact for _, fact in scored[:5]) or "nothing found"

    def _storage_write(self, path: str, content: str) -> str:
        self.files[path] = content
        return "ok"

    def _storage_read(self, path: str) -> str:
        return self.files.get(path, f'error: no file named "{path}"')

    def _storage_append(self, path: str, content: str) -> str:
        before = self.files.get(path, "")
        self.files[path] = f"{before}\n{content}" if before else content
        return "ok"

    def _storage_list(self) -> str:
        return "\n".join(sorted(self.files)) or "no files"

    def _agents_ask(self, agent: str, task: str) -> str:
        if agent not in self.agents:
            return f'error: no agent named "{agent}"; there are: {", ".join(self.agents) or "none"}'
        return self.agents[agent].get(task, "I cannot do that with my tools.")
