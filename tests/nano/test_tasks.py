"""Tasks: solvable as their reference says, and nothing held out occurs in training."""

import itertools
import random
import re

import pytest

from aios_actors.nano import words
from aios_actors.nano.phrases import templates_of
from aios_actors.nano.skills import AGENT_NAMES
from aios_actors.nano.tasks import SKILLS, UNSEEN_SKILLS, held_out_tasks, make_task, training_tasks
from aios_actors.nano.templates import TEMPLATES, WIDER
from aios_actors.nano.unseen import LOOKUP_VERBS, PARAMETER_NAMES, VERBS, invent
from aios_actors.nano.words import Split
from aios_actors.nano.world import BUILT_IN, OTHERS

TRAINED = list(itertools.islice(training_tasks(3), 4000))
HELD_OUT = [
    *held_out_tasks(3, 600, unseen_tools=False),
    *held_out_tasks(3, 300, unseen_tools=True),
    *held_out_tasks(3, 300, unseen_tools=False, split=Split.WIDER),
]


@pytest.mark.parametrize("tasks", [TRAINED[:1000], HELD_OUT], ids=["training", "held out"])
def test_the_reference_solution_passes_its_own_checks(tasks):
    for task in tasks:
        world = task.world()
        for call in task.calls:
            result = world.call(call.tool, call.arguments)
            # A search result's order is disturbed on purpose while the task is made.
            assert sorted(result.split("\n")) == sorted(call.result.split("\n")) or call.tool == "memory.search"
        assert task.passes(task.answer, world.files, world.facts), task


def test_doing_nothing_and_saying_nothing_never_passes():
    for task in HELD_OUT:
        assert not task.passes("", dict(task.files), list(task.facts)), task


def test_every_call_names_a_tool_that_the_task_has():
    for task in TRAINED + HELD_OUT:
        assert {call.tool for call in task.calls} <= {tool.name for tool in task.tools}


def test_the_answer_can_be_read_off_the_chat():
    """Every number of an answer occurs in the task or in a result: nothing needs recall or mental arithmetic."""
    for task in HELD_OUT:
        seen = task.input + " ".join(call.result for call in task.calls)
        for number in re.findall(r"\d+", task.answer):
            assert number in seen, task


def test_no_template_is_in_both_splits_and_every_skill_has_both():
    for skill in TEMPLATES:
        trained, held_out = templates_of(skill, Split.TRAIN), templates_of(skill, Split.HELD_OUT)
        assert trained and held_out
        assert not set(trained) & set(held_out)


def words_in(text):
    return set(re.findall(r"[A-Za-z]+", text))


# What wordings, tool names and system texts are made of; everything else in a task is drawn from a split.
SHARED = words_in(" ".join(text for pool in (*TEMPLATES.values(), *WIDER.values()) for text in pool)) | {
    *(word for tool in (*BUILT_IN.values(), *OTHERS) for word in words_in(tool.name)),
    *(*AGENT_NAMES, *PARAMETER_NAMES, *VERBS, *LOOKUP_VERBS, *words.STEMS, *words.FOLDERS, *words.EXTENSIONS),
    *words_in("my our the is has likes needs wants owns sells fears lives in works for comes from moved to knows s"),
    *words_in("Please tell me Hello I want know quick question Thanks Now Could you Can need Thank Your task"),
}
SHARED_LOWER = {word.lower() for word in SHARED}


def drawn(task):
    """The names and numbers with which a task was filled in, codes as a whole."""
    made_up = [tool.name for tool in task.tools if tool.name not in BUILT_IN]
    text = " ".join((task.input, *task.files, *task.files.values(), *task.facts, *made_up))
    codes = set(re.findall(r"\b[A-Z]{1,3}-\d+", text))
    rest = re.sub(r"\b[A-Z]{1,3}-\d+", " ", text)
    numbers = set(re.findall(r"\d+(?:\.\d+)?", rest))
    names = {word for word in words_in(rest) if word.lower() not in SHARED_LOWER and len(word) > 1}
    return codes | {number for number in numbers if len(number) > 1} | names


def test_no_held_out_name_number_or_code_occurs_in_training():
    trained = set().union(*(drawn(task) for task in TRAINED))
    held_out = set().union(*(drawn(task) for task in HELD_OUT))
    assert len(held_out) > 2000
    assert not trained & held_out


def test_a_held_out_path_never_occurs_in_training():
    trained = {path for task in TRAINED for path in task.files}
    held_out = {path for task in HELD_OUT for path in task.files}
    assert held_out
    assert not trained & held_out


@pytest.mark.parametrize("split", list(Split))
def test_every_skill_can_be_drawn(split):
    for skill in SKILLS | UNSEEN_SKILLS:
        for seed in range(20):
            assert make_task(random.Random(seed), split, skill).skill == skill


def test_streams_are_seeded():
    assert list(itertools.islice(training_tasks(3), 50)) == TRAINED[:50]
    assert held_out_tasks(3, 600, unseen_tools=False) == HELD_OUT[:600]
    assert held_out_tasks(4, 600, unseen_tools=False) != HELD_OUT[:600]


def test_an_invented_tool_answers_its_own_task():
    for seed in range(300):
        invention = invent(random.Random(seed), Split.TRAIN)
        names = {parameter.name for parameter in invention.tool.parameters if parameter.required}
        assert set(invention.arguments) == names
        assert invention.result in invention.answer()
