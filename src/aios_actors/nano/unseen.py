"""Tools made up on the spot: names, descriptions and parameters that the model has never seen, and tasks that need
them.

A tool is drawn from a grammar: English or nonsense verbs, nouns and parameter names, dotted or underscored tool
names, descriptions in many wordings. Its task mentions the same noun, so that the model has to match by overlap.
`invent` gives the tool, a task, the arguments that the task calls for, the result, and the form of the answer.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from aios_actors.nano import words
from aios_actors.nano.phrases import expand, templates_of, word_task
from aios_actors.nano.words import Split, listed
from aios_actors.nano.world import Parameter, ToolSpec, lookup_key

Argument = str | int | float
PARAMETER_NAMES = listed(
    """
    name person city item id key target place object subject topic country user product station street planet animal
    word term label entry record account device host room department building customer airport owner symbol title
    machine employee supplier school species river project
    client driver artist patient worker manager agency company brand model vehicle vessel train flight package shipment
    document page section folder position location site area zone town street_name house warehouse factory hotel
    library museum store_id part component node service category kind type style shape film hotel_name tag keyword
    reference identifier record_id login station_name user_id user_name item_id item_name worker_id product_id
    building_id customer_id device_id city_name country_name room_number account_id person_name file_id case
    """
)
PAIRS = (
    ("source", "target"),
    ("origin", "destination"),
    ("start", "end"),
    ("first", "second"),
    ("a", "b"),
    ("left", "right"),
    ("departure", "arrival"),
    ("x", "y"),
    ("from_place", "to_place"),
    ("sender", "receiver"),
    ("one", "two"),
    ("begin", "finish"),
    ("base", "other"),
    ("point_a", "point_b"),
    ("first_name", "second_name"),
)
VERBS = listed(
    """
    send ship dispatch launch paint clean repair lock unlock open close check mark pack deliver cancel confirm renew
    print scan heat cool charge drain fill rotate lift drop mail polish trim seal test reset pause start stop move
    raise lower activate register publish approve archive sort measure inspect
    build assemble adjust align balance boost borrow burn clear collect combine connect cover delay divert double
    draw erase expand export extend fasten fold forward grind halt hoist import improve insert install invite join
    loosen mend merge mute park pour prepare protect plug reboot rebuild recycle refill refund reject remove reopen
    repaint replace reserve restore resume rewind reward rinse schedule shift shorten sign spin split stack submit
    suspend swap tighten transfer transport trigger unload unpack upgrade upload warm widen wrap
    """
)
LOOKUP_VERBS = listed(
    """
    get lookup fetch query show check load retrieve read find search view obtain info request report pull
    """
)


@dataclass(frozen=True)
class Invention:
    """A made-up tool with one task for it. `slots` fill in its wording; `phrase` is how an answer names the result."""

    tool: ToolSpec
    kind: str
    slots: dict[str, str]
    arguments: dict[str, Argument]
    result: str
    phrase: str

    def answer(self) -> str:
        """The final answer that reports the result."""
        return f"The {self.phrase} is {self.result}." if self.phrase else f"Done: {self.result}."

    def quote(self) -> str:
        """The tool's line from the word that it shares with the task up to its name; nothing if the task names it.

        Said before the call it leads from that word to the name by copying alone.
        """
        found = re.search(rf"\b{re.escape(self.slots['attr'])}", self.tool.description, re.IGNORECASE)
        if found is None or self.kind == "explicit":
            return ""
        return f"{self.tool.description[found.start() :]} #{self.tool.name}"


def describe(rng: random.Random, split: Split, kind: str, slots: dict[str, str]) -> str:
    """The description of a tool of `kind`."""
    text = expand(rng, rng.choice(templates_of(f"describe_{kind}", split)))
    for slot, word in slots.items():
        text = text.replace(f"<{slot}>", word)
    return text if rng.random() < 0.8 else text.rstrip(".")


def tool_name(rng: random.Random, split: Split, kind: str, verb: str, noun: str) -> str:
    """A tool's name made of its verb and noun, or plain nonsense in one case of six."""
    if rng.random() < 0.17:
        name = words.nonsense(rng, split, (1, 2, 2))
        return name if rng.random() < 0.6 else f"{name}{rng.choice('._')}{words.nonsense(rng, split, (1, 2))}"
    if kind in ("lookup", "between", "current"):
        verb = rng.choice(LOOKUP_VERBS)
    elif kind in ("set", "convert"):
        verb = kind
    forms = (f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", f"{noun}.{verb}", noun)
    return rng.choice(forms)


def _parameter(rng: random.Random, split: Split) -> str:
    return words.nonsense(rng, split, (1, 2)) if rng.random() < 0.3 else rng.choice(PARAMETER_NAMES)


def _typed(rng: random.Random, split: Split) -> tuple[str, Argument]:
    """A JSON Schema type and an argument of that type."""
    kind = rng.random()
    if kind < 0.35:
        return "integer", int(words.number(rng, split))
    if kind < 0.45:
        return "number", float(words.decimal(rng, split))
    return "string", words.value(rng, split) if rng.random() < 0.5 else words.entity(rng, split)


@dataclass
class _Scene:
    """What a kind of tool is made of: its split's draws, and the slots that word its task."""

    rng: random.Random
    split: Split
    slots: dict[str, str]

    def named(self, *names: str) -> str:
        """One of `names`, for a parameter."""
        return self.rng.choice(names)


_Use = tuple[tuple[Parameter, ...], dict[str, Argument], str]
"""A tool's parameters, the arguments that the task calls for, and how an answer names the result."""


def _lookup(scene: _Scene) -> _Use:
    slots = scene.slots
    return (Parameter(slots["p"]),), {slots["p"]: slots["who"]}, f"{slots['attr']} of {slots['who']}"


def _between(scene: _Scene) -> _Use:
    first, second = scene.rng.choice(PAIRS)
    scene.slots |= {"a": scene.slots["who"], "b": words.entity(scene.rng, scene.split)}
    arguments: dict[str, Argument] = {first: scene.slots["a"], second: scene.slots["b"]}
    return (Parameter(first), Parameter(second)), arguments, scene.slots["attr"]


def _current(scene: _Scene) -> _Use:
    return (), {}, f"current {scene.slots['attr']}"


def _act(scene: _Scene) -> _Use:
    return (Parameter(scene.slots["p"]),), {scene.slots["p"]: scene.slots["who"]}, ""


def _amount(scene: _Scene) -> _Use:
    scene.slots["n"] = text = words.number(scene.rng, scene.split)
    name = scene.named("amount", "quantity", "count", "number", "n")
    arguments: dict[str, Argument] = {scene.slots["p"]: scene.slots["who"], name: int(text)}
    parameters = [Parameter(scene.slots["p"]), Parameter(name, "integer")]
    scene.rng.shuffle(parameters)
    return tuple(parameters), {one.name: arguments[one.name] for one in parameters}, ""


def _set(scene: _Scene) -> _Use:
    name = scene.named("value", "to", "new_value", scene.slots["attr"])
    json_type, argument = _typed(scene.rng, scene.split)
    scene.slots["v"] = str(argument)
    parameters = (Parameter(scene.slots["p"]), Parameter(name, json_type))
    return parameters, {scene.slots["p"]: scene.slots["who"], name: argument}, ""


def _convert(scene: _Scene) -> _Use:
    text = words.number(scene.rng, scene.split)
    scene.slots |= {"unit": words.noun(scene.rng, scene.split), "n": text}
    name = scene.named("amount", "value", "quantity", scene.slots["unit"], "n", "x")
    return (Parameter(name, scene.named("number", "integer")),), {name: int(text)}, "result"


def _explicit(scene: _Scene) -> _Use:
    slots = scene.slots
    (p_type, v), (q_type, w) = _typed(scene.rng, scene.split), _typed(scene.rng, scene.split)
    slots |= {"v": str(v), "w": str(w)}
    return (Parameter(slots["p"], p_type), Parameter(slots["q"], q_type)), {slots["p"]: v, slots["q"]: w}, ""


# What the tool of each kind takes.
_USES: dict[str, Callable[[_Scene], _Use]] = {
    "lookup": _lookup,
    "between": _between,
    "current": _current,
    "act": _act,
    "amount": _amount,
    "set": _set,
    "convert": _convert,
    "explicit": _explicit,
}
KINDS = ("lookup", "lookup", *_USES)


def invent(rng: random.Random, split: Split, kind: str | None = None, numeric: bool = False) -> Invention:
    """A new tool and one task for it. With `numeric` the result is a number, to be used in a next step."""
    kind = kind or rng.choice(KINDS)
    noun = words.noun(rng, split)
    verb = words.nonsense(rng, split, (1, 2)) if rng.random() < 0.25 else rng.choice(VERBS)
    p, q = _parameter(rng, split), _parameter(rng, split)
    while len({p, q, noun}) < 3:
        p, q = _parameter(rng, split), _parameter(rng, split)
    slots = {"attr": noun, "Attr": noun.capitalize(), "verb": verb, "Verb": verb.capitalize(), "p": p, "q": q}
    slots["who"] = words.entity(rng, split)
    result = words.number(rng, split) if numeric else words.value(rng, split)
    parameters, arguments, phrase = _USES[kind](_Scene(rng, split, slots))
    if rng.random() < 0.12:
        optional = rng.choice(("limit", "verbose", "format", "unit_system"))
        parameters += (Parameter(optional, "string", required=False),)
    slots["tool"] = name = tool_name(rng, split, kind, verb, noun)
    tool = ToolSpec(name, describe(rng, split, kind, slots), parameters, {lookup_key(arguments): result})
    return Invention(tool, kind, slots, arguments, result, phrase)


def word_invention(rng: random.Random, split: Split, invention: Invention) -> str:
    """The task of an invention in words."""
    return word_task(rng, split, invention.kind, **invention.slots)
