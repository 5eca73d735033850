"""A task in the making: its split, its world, the calls that solve it, and what must hold afterwards.

A skill (skills.py, combined.py) fills in a `Draft`: it sets up files and facts, words the task, and makes the reference
calls against the draft's `World`, whose answers become the results in the trace.
"""

import random
from dataclasses import dataclass, field

from msgspec import Struct

from aios_actors.nano import words
from aios_actors.nano.phrases import expand, templates_of, word_task
from aios_actors.nano.words import Split, listed
from aios_actors.nano.world import BUILT_IN, ToolSpec, World

IMPERATIVES = listed(
    """
    compute calculate work evaluate find determine multiply add take sum subtract divide share split use give read
    open get look start recall ask check report fetch show learn let
    """
)


class Call(Struct, frozen=True):
    """One reference tool call and its result. `thought` is what the assistant says before the call."""

    tool: str
    arguments: dict[str, str | int | float]
    result: str
    thought: str = ""


class Checks(Struct, frozen=True):
    """What must hold after a run: exact files, substrings of some stored fact, substrings of the answer."""

    files: dict[str, str] = {}
    facts: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()


@dataclass
class Draft:
    """One task being built. `custom` are made-up tools; `agent_names` may appear in the system text."""

    rng: random.Random
    split: Split
    text: str = ""
    answer: str = ""
    value: str = ""
    calls: list[Call] = field(default_factory=list)
    custom: list[ToolSpec] = field(default_factory=list)
    checks: Checks = field(default_factory=Checks)
    files: dict[str, str] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    thought: str = ""
    _world: World | None = None

    def call(self, tool: str, /, **arguments: str | int | float) -> str:
        """Makes a reference call, records it, and gives its result. The world's start is fixed by the first call."""
        if self._world is None:
            self._world = World(dict(self.files), list(self.facts), self.agents, noise=self.rng)
        self._world.tools = (*BUILT_IN.values(), *self.custom)
        result = self._world.call(tool, arguments)
        self.calls.append(Call(tool, arguments, result, self.thought))
        self.thought = ""
        return result

    def think(self, text: str) -> None:
        """What the assistant says before the next call, if there is one: what it took from longer results.

        It names the thing before its value, so that finding the value is a matter of looking up its name.
        """
        self.thought = text

    def finish(self, answer: str, value: str = "", /, **checks: object) -> None:
        """Sets the final answer and the figure that it reports; without `checks` the answer must contain the figure."""
        self.answer, self.value = answer, value
        fields = {"answer": (value,)} if value and "answer" not in checks else {}
        self.checks = Checks(**(fields | checks))  # type: ignore[arg-type]

    def needs(self) -> tuple[str, ...]:
        """The names of the tools that the reference calls use."""
        return tuple(dict.fromkeys(call.tool for call in self.calls))

    def number(self, digits: tuple[int, ...] = (1, 2, 2, 2, 3, 3, 4, 5)) -> str:
        """A whole number as text."""
        return words.number(self.rng, self.split, digits)

    def multiple(self, of: int) -> str:
        """A multiple of `of` as text, for a division without remainder; any number where the split has none."""
        choices = [text for factor in range(2, 60) if words.split_of(text := str(of * factor)) is self.split]
        return self.rng.choice(choices) if choices else self.number()

    def noun(self) -> str:
        """An attribute or a thing."""
        return words.noun(self.rng, self.split)

    def entity(self) -> str:
        """A name."""
        return words.entity(self.rng, self.split)

    def path(self) -> str:
        """A file's path that the draft does not use yet."""
        while (path := words.path(self.rng, self.split)) in self.files:
            pass
        return path

    def word(self, skill: str, order: bool = False, **slots: str) -> str:
        """A wording of `skill`: a whole task, or with `order` a part of a longer one."""
        return self.order(skill, **slots) if order else word_task(self.rng, self.split, skill, **slots)

    def order(self, skill: str, **slots: str) -> str:
        """A wording of `skill` that is an order, in lower case and without its full stop: a part of a longer task."""
        templates = templates_of(skill, self.split)
        if self.split is Split.WIDER:  # too few of these are plain orders
            templates += templates_of(skill, Split.HELD_OUT)
        for _ in range(1000):
            text = expand(self.rng, self.rng.choice(templates)).rstrip(".?")
            first = text.split(" ", 1)[0].lower()
            if first in IMPERATIVES and ". " not in text and "? " not in text:
                break
        else:
            raise ValueError(f"no {self.split.value} template of {skill} is an order")
        text = text[0].lower() + text[1:]
        for slot, word in slots.items():
            text = text.replace(f"<{slot}>", word)
        return text
