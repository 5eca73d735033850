"""The simulated tools answer as the node's own tools do."""

import json

import pytest

from aios_actors.kernel.tool.builtin import kernel_tools
from aios_actors.nano.world import BUILT_IN, OTHERS, Parameter, ToolSpec, World, evaluate, lookup_key


@pytest.mark.parametrize(
    ("expression", "result"),
    [("37*14", "518"), ("(3+4)*5", "35"), ("1/3", "0.3333333333"), ("0.1+0.2", "0.3"), ("2-5", "-3"), ("-2*3.5", "-7")],
)
def test_arithmetic_is_exact_for_whole_results_and_has_ten_digits_else(expression, result):
    assert evaluate(expression) == result


@pytest.mark.parametrize("expression", ["2**8", "__import__('os')", "1/0", "3+", "x*2", "'a'*3"])
def test_anything_else_is_refused(expression):
    with pytest.raises(ValueError):
        evaluate(expression)


def world(**start):
    return World(tools=tuple(BUILT_IN.values()), **start)


def test_files():
    node = world(files={"a.txt": "one"})
    assert node.call("storage.append", {"path": "a.txt", "content": "two"}) == "ok"
    assert node.call("storage.append", {"path": "b.txt", "content": "x"}) == "ok"
    assert node.files == {"a.txt": "one\ntwo", "b.txt": "x"}
    assert node.call("storage.list", {}) == "a.txt\nb.txt"
    assert node.call("storage.read", {"path": "c.txt"}) == 'error: no file named "c.txt"'


def test_search_puts_the_best_fact_first_and_gives_five_at_most():
    node = world(facts=[f"the age of Name{n} is {n}" for n in range(9)] + ["the code of Miravel is 8342"])
    found = node.call("memory.search", {"query": "code of Miravel"}).split("\n")
    assert found[0] == "the code of Miravel is 8342"
    assert len(found) == 5
    assert world().call("memory.search", {"query": "x"}) == "nothing found"


def test_a_made_up_tool_answers_from_its_table():
    tool = ToolSpec("rate", "The rate.", (Parameter("n", "integer"),), {lookup_key({"n": 3}): "7"})
    node = World(tools=(tool,))
    assert node.call("rate", {"n": 3}) == "7"
    assert node.call("rate", {"n": 4}).startswith("error: ")
    assert node.call("rate", {"m": 3}) == "error: rate takes n"
    assert node.call("other", {}) == 'error: no tool named "other"'


def test_other_agents_answer_the_task_they_know():
    node = world(agents={"clerk": {"list": "none"}})
    assert node.call("agents.ask", {"agent": "clerk", "task": "list"}) == "none"
    assert node.call("agents.ask", {"agent": "nobody", "task": "list"}) == (
        'error: no agent named "nobody"; there are: clerk'
    )


def test_the_schema_has_the_form_of_the_openai_api():
    tool = ToolSpec("rate", "The rate.", (Parameter("n", "integer"), Parameter("unit", required=False)))
    function = tool.schema()["function"]
    assert json.loads(json.dumps(function))["parameters"] == {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["n"],
    }


def test_the_tools_are_those_of_the_node():
    ours = {spec.name: (spec.description, spec.parameters) for spec in (*BUILT_IN.values(), *OTHERS)}
    theirs = {}
    for schema in (tool.schema for tool in kernel_tools()):
        required = schema.parameters.get("required", [])
        properties = schema.parameters.get("properties", {}).items()
        parameters = tuple(Parameter(name, kind["type"], name in required) for name, kind in properties)
        theirs[schema.name] = (schema.description, parameters)
    assert ours == theirs
