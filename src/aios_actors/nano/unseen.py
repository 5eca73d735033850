"""Tools made up on the spot: names, descriptions and parameters that the model has never seen, and tasks that need
them.

A tool is drawn from a grammar: English or nonsense verbs, nouns and parameter names, dotted or underscored tool
names, descriptions in many wordings. Its task mentions the same noun, so that the model has to match by overlap.
`invent` gives the tool, a task, the arguments that the task calls for, the result, and the form of the answer.
"""

import random
from dataclasses import dataclass

from . import words
from .phrases import expand, templates_of, word_task
from .words import Split, listed
from .world import Parameter, ToolSpec, lookup_key

KINDS = ("lookup", "lookup", "lookup", "between", "current", "act", "amount", "set", "convert", "explicit")
PARAMETER_NAMES = listed(
    """
    name person city item id key target place object subject topic country user product station street planet animal
    word term label entry record account device host room department building customer airport owner symbol title
    machine employee supplier school species river project
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
)
VERBS = listed(
    """
    send ship dispatch launch paint clean repair lock unlock open close check mark pack deliver cancel confirm renew
    print scan heat cool charge drain fill rotate lift drop mail polish trim seal test reset pause start stop move
    raise lower activate register publish approve archive sort measure inspect
    """
)
LOOKUP_VERBS = ("get", "lookup", "fetch", "query", "show", "check", "load", "retrieve", "read")


@dataclass(frozen=True)
class Invention:
    """A made-up tool with one task for it. `slots` fill in its wording; `phrase` is how an answer names the result."""

    tool: ToolSpec
    kind: str
    slots: dict[str, str]
    arguments: dict[str, str | int | float]
    result: str
    phrase: str

    def answer(self) -> str:
        """The final answer that reports the result."""
        return f"The {self.phrase} is {self.result}." if self.phrase else f"Done: {self.result}."


def describe(rng: random.Random, split: Split, kind: str, slots: dict[str, str]) -> str:
    """The description of a tool of `kind`; half of the held-out tools use held-out wordings only."""
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


def _typed(rng: random.Random, split: Split) -> tuple[str, str | int | float]:
    """A JSON Schema type and an argument of that type."""
    kind = rng.random()
    if kind < 0.35:
        return "integer", int(words.number(rng, split))
    if kind < 0.45:
        return "number", float(words.decimal(rng, split))
    return "string", words.value(rng, split) if rng.random() < 0.5 else words.entity(rng, split)


def invent(rng: random.Random, split: Split, kind: str | None = None, numeric: bool = False) -> Invention:
    """A new tool and one task for it. With `numeric` the result is a number, to be used in a next step."""
    kind = kind or rng.choice(KINDS)
    noun = words.noun(rng, split)
    verb = words.nonsense(rng, split, (1, 2)) if rng.random() < 0.25 else rng.choice(VERBS)
    p, q = _parameter(rng, split), _parameter(rng, split)
    while q == p:
        q = _parameter(rng, split)
    who = words.entity(rng, split)
    slots = {
        "attr": noun,
        "Attr": noun.capitalize(),
        "who": who,
        "p": p,
        "q": q,
        "verb": verb,
        "Verb": verb.capitalize(),
    }
    result = words.number(rng, split) if numeric else words.value(rng, split)
    phrase = ""
    parameters: tuple[Parameter, ...]
    arguments: dict[str, str | int | float]
    if kind == "lookup":
        parameters, arguments, phrase = (Parameter(p),), {p: who}, f"{noun} of {who}"
    elif kind == "between":
        first, second = rng.choice(PAIRS)
        slots |= {"a": who, "b": words.entity(rng, split)}
        parameters = (Parameter(first), Parameter(second))
        arguments, phrase = {first: slots["a"], second: slots["b"]}, noun
    elif kind == "current":
        parameters, arguments, phrase = (), {}, f"current {noun}"
    elif kind == "act":
        parameters, arguments = (Parameter(p),), {p: who}
    elif kind == "amount":
        quantity = int(words.number(rng, split))
        amount = rng.choice(("amount", "quantity", "count", "number", "n"))
        slots["n"] = str(quantity)
        pair = [(Parameter(p), who), (Parameter(amount, "integer"), quantity)]
        rng.shuffle(pair)
        parameters, arguments = tuple(one for one, _ in pair), {one.name: value for one, value in pair}
    elif kind == "set":
        value_name = rng.choice(("value", "to", "new_value", noun))
        json_type, argument = _typed(rng, split)
        slots["v"] = str(argument)
        parameters, arguments = (Parameter(p), Parameter(value_name, json_type)), {p: who, value_name: argument}
    elif kind == "convert":
        unit = words.noun(rng, split)
        quantity = int(words.number(rng, split))
        slots |= {"unit": unit, "n": str(quantity)}
        amount = rng.choice(("amount", "value", "quantity", unit, "n", "x"))
        parameters, arguments = (Parameter(amount, rng.choice(("number", "integer"))),), {amount: quantity}
        phrase = "result"
    else:
        (p_type, p_value), (q_type, q_value) = _typed(rng, split), _typed(rng, split)
        slots |= {"v": str(p_value), "w": str(q_value)}
        parameters, arguments = (Parameter(p, p_type), Parameter(q, q_type)), {p: p_value, q: q_value}
    if rng.random() < 0.12:
        parameters += (Parameter(rng.choice(("limit", "verbose", "format", "unit_system")), "string", required=False),)
    slots["tool"] = name = tool_name(rng, split, kind, verb, noun)
    tool = ToolSpec(name, describe(rng, split, kind, slots), parameters, {lookup_key(arguments): result})
    return Invention(tool, kind, slots, arguments, result, phrase)


def word_invention(rng: random.Random, split: Split, invention: Invention) -> str:
    """The task of an invention in words."""
    return word_task(rng, split, invention.kind, **invention.slots)
