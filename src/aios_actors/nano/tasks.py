"""Complete tasks for the nano model: what an agent gets, the world it acts in, the reference solution and the checks.

`training_tasks` draws from the training split, `held_out_tasks` from the held-out one: no name, number, path, made-up
tool or phrase of the second ever occurs in the first (a test proves it). Both are endless or long streams from one
seed.
"""

import random
from collections.abc import Callable, Iterator

from msgspec import Struct

from aios_actors.nano import combined, skills, words
from aios_actors.nano.draft import Call, Checks, Draft
from aios_actors.nano.unseen import invent
from aios_actors.nano.words import Split
from aios_actors.nano.world import BUILT_IN, OTHERS, ToolSpec, World

# Shares of the mixture. `skills` functions take `order=False` by default.
SKILLS: dict[str, tuple[float, Callable[[Draft], None]]] = {
    "arithmetic": (12, skills.arithmetic),
    "arithmetic_three": (7, skills.arithmetic_three),
    "remember": (6, skills.remember),
    "recall": (9, skills.recall),
    "write": (6, skills.write),
    "append": (7, skills.append),
    "read": (5, skills.read),
    "list": (5, skills.list_files),
    "figure": (8, skills.figure),
    "figure_times": (6, combined.figure_times),
    "figure_sum": (12, combined.figure_sum),
    "sum_files": (4, combined.sum_files),
    "recall_times": (4, combined.recall_times),
    "recall_sum": (5, combined.recall_sum),
    "then_write": (6, combined.then_write),
    "then_append": (7, combined.then_append),
    "then_remember": (8, combined.then_remember),
    "recall_write": (4, combined.recall_write),
    "read_remember": (5, combined.read_remember),
    "copy": (5, combined.copy),
    "ask_for": (7, combined.ask_for),
    "delegate": (12, combined.delegate),
    "delegate_two": (12, combined.delegate_two),
    "cannot": (9, combined.cannot),
}
UNSEEN_SKILLS: dict[str, tuple[float, Callable[[Draft], None]]] = {
    "unseen": (28, skills.unseen),
    "unseen_chain": (30, combined.unseen_chain),
    "unseen_then": (10, combined.unseen_then),
}
SYSTEMS = (
    "You solve tasks with tools, one step at a time.",
    "You are a clerk who keeps files.",
    "You are a librarian who remembers facts.",
    "You are a planner. Hand each part to the right agent.",
    "You are a helpful assistant.",
    "Answer the question. Use tools where they help.",
    "You are an agent with tools.",
    "Solve the task.",
    "You help people with numbers and files.",
    "Use one tool at a time, then give a short answer.",
    "You are an accountant.",
    "Be short and exact.",
)
_FORMS = (
    "You are {0}.",
    "You are {0}, the {1} of {2}.",
    "You work for {0}. Be exact.",
    "Your name is {0}. You use tools.",
    "The {1} agent of {0}.",
    "An agent that keeps the {1} of {0} in order.",
)


class Task(Struct, frozen=True):
    """One task. `tools` holds specs in the order in which the agent has them; made-up ones carry their look-up tables.

    `files`, `facts` and `agents` (agent -> task -> answer) are the world before the run, `calls` and `answer` the
    reference solution, `checks` what must hold afterwards.
    """

    skill: str
    system: str
    input: str
    tools: tuple[ToolSpec, ...]
    files: dict[str, str]
    facts: tuple[str, ...]
    agents: dict[str, dict[str, str]]
    calls: tuple[Call, ...]
    answer: str
    checks: Checks

    def world(self) -> World:
        """A fresh world in which this task can be solved."""
        return World(dict(self.files), list(self.facts), self.agents, self.tools)

    def passes(self, answer: str, files: dict[str, str], facts: list[str]) -> bool:
        """Whether a run's answer and the world after it are right."""
        return (
            all(files.get(path) == content for path, content in self.checks.files.items())
            and all(any(part in fact for fact in facts) for part in self.checks.facts)
            and all(part in answer for part in self.checks.answer)
        )


def _system(rng: random.Random, split: Split) -> str:
    kind = rng.random()
    if kind < 0.15:
        return ""
    if kind < 0.6:
        return rng.choice(SYSTEMS)
    entity, noun, other = words.entity(rng, split), words.noun(rng, split), words.entity(rng, split)
    return rng.choice(_FORMS).format(entity, noun, other)


def _tools(draft: Draft) -> tuple[ToolSpec, ...]:
    """The tools that the task needs, and distractors, in any order."""
    rng = draft.rng
    chosen = {name: BUILT_IN[name] for name in draft.needs() if name in BUILT_IN}
    chosen |= {tool.name: tool for tool in draft.custom}
    others = [spec for name, spec in BUILT_IN.items() if name not in chosen and name not in draft.removed]
    rng.shuffle(others)
    extra = rng.choice((0, 0, 1, 1, 2, 3)) if draft.custom else rng.choice((0, 1, 1, 2, 2, 3, 4, 7))
    invented = sum(rng.random() < 0.75 for _ in range(rng.choice((1, 2, 2, 3, 4)))) if draft.custom else 0
    if not draft.custom and rng.random() < 0.25:
        invented = rng.choice((1, 1, 2, 3))
    unused = rng.sample(OTHERS, rng.choice((1, 2, 4))) if rng.random() < 0.12 and not draft.removed else []
    for spec in (*others[:extra], *unused):
        chosen.setdefault(spec.name, spec)
    for _ in range(invented):
        spec = invent(rng, draft.split).tool
        chosen.setdefault(spec.name, spec)
    tools = list(chosen.values())
    rng.shuffle(tools)
    return tuple(tools)


def make_task(rng: random.Random, split: Split, skill: str) -> Task:
    """Draws one task of `skill`."""
    draft = Draft(rng, split)
    _, fill = (SKILLS | UNSEEN_SKILLS)[skill]
    fill(draft)
    return Task(
        skill=skill,
        system=_system(rng, split),
        input=draft.text,
        tools=_tools(draft),
        files=draft.files,
        facts=tuple(draft.facts),
        agents=draft.agents,
        calls=tuple(draft.calls),
        answer=draft.answer,
        checks=draft.checks,
    )


def training_tasks(seed: int | str) -> Iterator[Task]:
    """An endless stream of training tasks over all skills."""
    rng = random.Random(f"training {seed}")
    mixture = SKILLS | UNSEEN_SKILLS
    names, weights = list(mixture), [share for share, _ in mixture.values()]
    while True:
        yield make_task(rng, Split.TRAIN, rng.choices(names, weights)[0])


def held_out_tasks(seed: int, n: int, unseen_tools: bool, split: Split = Split.HELD_OUT) -> list[Task]:
    """`n` held-out tasks, evenly over the skills: those of the built-in tools, or those of made-up tools.

    `split` is one of those that training does not touch.
    """
    rng = random.Random(f"{split.value.replace('_', ' ')} {seed} {unseen_tools}")
    names = list(UNSEEN_SKILLS if unseen_tools else SKILLS)
    return [make_task(rng, split, names[index % len(names)]) for index in range(n)]
