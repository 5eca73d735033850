"""Tasks: solvable as their reference says, and nothing held out occurs in training."""

import itertools
import random
import re

import pytest
from aios_actors.nano import words
from aios_actors.nano.phrases import templates_of
from aios_actors.nano.tasks import SKILLS, UNSEEN_SKILLS, held_out_tasks, make_task, training_tasks
from aios_actors.nano.templates import TEMPLATES
from aios_actors.nano.unseen import invent
from aios_actors.nano.words import Split
from aios_actors.nano.world import BUILT_IN

TRAINED = list(itertools.islice(training_tasks(3), 4000))
HELD_OUT = held_out_tasks(3, 600, unseen_tools=False) + held_out_tasks(3, 300, unseen_tools=True)


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


def drawn(task):
    """The words, numbers, codes and paths with which a task was filled in."""
    facts = " ".join(task.facts)
    made_up = " ".join(tool.name for tool in task.tools if tool.name not in BUILT_IN)
    return set(re.findall(r"[A-Za-z]{4,}|\d{2,}", f"{task.input} {' '.join(task.files)} {facts} {made_up}"))


def test_no_held_out_number_or_name_occurs_in_training_tasks():
    seen = set().union(*(drawn(task) for task in TRAINED))
    wordings = {word for pool in (*TEMPLATES.values(), words.STEMS, words.FOLDERS) for text in pool for word in drawn_words(text)}
    for task in HELD_OUT:
        names = {name for name in drawn(task) & seen if name.isalpha() and name.lower() not in wordings}
        held_out = {name for name in names if words.split_of(name) is Split.HELD_OUT}
        assert not held_out, (held_out, task.input)


def drawn_words(text):
    return re.findall(r"[a-z]+", text.lower())


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
