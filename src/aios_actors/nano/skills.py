"""The single skills: arithmetic, memory, files, figures, delegation and unseen tools.

Each function fills in a draft with a task, its reference calls and its answer. `order=True` words the task as an
order that can be the first part of a longer one (see combined.py).
"""

from aios_actors.nano import words
from aios_actors.nano.draft import Draft
from aios_actors.nano.unseen import invent, word_invention
from aios_actors.nano.words import listed

AGENT_NAMES = listed("librarian clerk assistant planner writer researcher analyst accountant helper expert")
SYMBOLS = {"times": "*", "plus": "+", "minus": "-", "divided": "/"}
SPOKEN = {"times": "times", "plus": "plus", "minus": "minus", "divided": "divided by"}


def arithmetic(draft: Draft, order: bool = False) -> None:
    """Two operands, in words, in symbols or in a small story."""
    skill = draft.rng.choice(("times", "times", "plus", "plus", "minus", "divided"))
    a, b = draft.number(), draft.number()
    if draft.rng.random() < 0.15:
        a = words.decimal(draft.rng, draft.split)
    if skill == "divided" and draft.rng.random() < 0.6:
        a = draft.multiple(int(b))
    draft.text = draft.word(skill, order, a=a, b=b, thing=draft.noun(), who=draft.entity())
    result = draft.call("calculator", expression=f"{a}{SYMBOLS[skill]}{b}")
    draft.finish(f"{a} {SPOKEN[skill]} {b} is {result}.", result)


def arithmetic_three(draft: Draft, order: bool = False) -> None:
    """Three operands: a formula in symbols or words, or two steps in words."""
    rng = draft.rng
    a, b, c = (draft.number((1, 1, 2, 2, 2, 3)) for _ in range(3))
    kind = rng.random()
    slots = {"a": a, "b": b, "c": c}
    if kind < 0.2:
        skill, expression = "add_then_times", f"({a}+{b})*{c}"
    elif kind < 0.4:
        skill, expression = "times_then_add", f"{a}*{b}+{c}"
        slots["thing"] = draft.noun()
    else:
        skill, (one, two) = "three", (rng.choice(("plus", "minus", "times")) for _ in range(2))
        left, right = rng.choice((("", ""), ("", ""), ("(", "")))
        close = ")" if left else right
        expression = f"{left}{a}{SYMBOLS[one]}{b}{close}{SYMBOLS[two]}{c}"
        if left or rng.random() < 0.5:
            gap = rng.choice(("", " "))
            slots["words"] = f"{left}{a}{gap}{SYMBOLS[one]}{gap}{b}{close}{gap}{SYMBOLS[two]}{gap}{c}"
        else:
            slots["words"] = f"{a} {one} {b} {two} {c}"
    draft.text = draft.word(skill, order, **slots)
    result = draft.call("calculator", expression=expression)
    draft.finish(f"The result is {result}.", result)


def _fact(draft: Draft, attr: str, who: str, value: str) -> str:
    """A fact as it may have been stored."""
    form = draft.rng.random()
    if form < 0.75:
        text = f"the {attr} of {who} is {value}"
    elif form < 0.88:
        text = f"{who}'s {attr} is {value}"
    else:
        text = f"{who} has the {attr} {value}"
    if draft.rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + ("." if draft.rng.random() < 0.3 else "")


def free_fact(draft: Draft) -> str:
    """A fact of any form, without a full stop."""
    rng, who = draft.rng, draft.entity()
    kind = rng.random()
    if kind < 0.6:
        return _fact(draft, draft.noun(), who, words.value(rng, draft.split)).rstrip(".")
    if kind < 0.7:
        return f"{who} {rng.choice(('likes', 'needs', 'wants', 'owns', 'sells', 'fears'))} {draft.noun()}"
    if kind < 0.8:
        return f"{who} has {draft.number()} {draft.noun()}"
    if kind < 0.9:
        return f"{who} {rng.choice(('lives in', 'works for', 'comes from', 'moved to', 'knows'))} {draft.entity()}"
    return f"{rng.choice(('my', 'our', 'the'))} {draft.noun()} is {words.content(rng, draft.split)}"


def remember(draft: Draft, order: bool = False) -> None:
    """Stores a fact word for word."""
    fact = free_fact(draft)
    draft.text = draft.word("remember", order, fact=fact)
    draft.call("memory.add", text=fact)
    draft.finish("Saved.", facts=(fact,))


def stock_facts(draft: Draft, attr: str, who: str) -> None:
    """Adds up to six distractors, some of which share the attribute or the name."""
    for _ in range(draft.rng.choice((0, 1, 1, 2, 2, 3, 4, 6))):
        kind = draft.rng.random()
        other_attr = attr if kind < 0.4 else draft.noun()
        other_who = who if kind > 0.75 else draft.entity()
        if (other_attr, other_who) != (attr, who):
            draft.facts.append(_fact(draft, other_attr, other_who, words.value(draft.rng, draft.split)))
    draft.rng.shuffle(draft.facts)


def know(draft: Draft, numeric: bool = False) -> tuple[str, str, str]:
    """Puts one fact into the memory: its attribute, its name and its value."""
    attr, who = draft.noun(), draft.entity()
    value = draft.number() if numeric else words.value(draft.rng, draft.split)
    draft.facts.append(_fact(draft, attr, who, value))
    return attr, who, value


def recall(draft: Draft, order: bool = False) -> None:
    """Finds a fact among distractors; one in ten is not there."""
    attr, who, value = know(draft, numeric=order and draft.rng.random() < 0.5)
    stock_facts(draft, attr, who)
    absent = not order and draft.rng.random() < 0.1
    if absent:
        draft.facts = [fact for fact in draft.facts if not (attr in fact and who in fact)]
    draft.text = draft.word("recall", order, attr=attr, who=who)
    draft.call("memory.search", query=f"{attr} of {who}")
    if absent:
        draft.finish(f"I do not know the {attr} of {who}.", answer=("do not know",))
    else:
        draft.finish(f"The {attr} of {who} is {value}.", value)
        draft.think(draft.answer)


def _quoted(draft: Draft, text: str) -> str:
    quote = draft.rng.choice(("", "", "", '"', "'"))
    return f"{quote}{text}{quote}"


def write(draft: Draft, order: bool = False) -> None:
    """Writes a text to a file."""
    path, content = draft.path(), words.content(draft.rng, draft.split)
    draft.text = draft.word("write", order, path=path, content=_quoted(draft, content))
    draft.call("storage.write", path=path, content=content)
    draft.finish(f"I wrote {content} to {path}.", files={path: content})


def append(draft: Draft, order: bool = False) -> None:
    """Appends a line to a file."""
    path, content = draft.path(), words.content(draft.rng, draft.split)
    before = words.content(draft.rng, draft.split)
    draft.files[path] = before
    draft.text = draft.word("append", order, path=path, content=_quoted(draft, content))
    draft.call("storage.append", path=path, content=content)
    draft.finish(f"I added {content} to {path}.", files={path: f"{before}\n{content}"})


def read(draft: Draft, order: bool = False) -> None:
    """Reads a file of one or two lines and reports it; one in eight is missing."""
    path = draft.path()
    draft.text = draft.word("read", order, path=path)
    if draft.rng.random() < 0.12:
        failed(draft, draft.call("storage.read", path=path))
        return
    lines = [words.content(draft.rng, draft.split) for _ in range(draft.rng.choice((1, 1, 1, 2)))]
    draft.files[path] = "\n".join(lines)
    result = draft.call("storage.read", path=path)
    draft.finish(f"{path} says: {result}", answer=tuple(lines))


def failed(draft: Draft, result: str) -> None:
    """Ends a draft whose last call failed: the answer says that it could not, and why."""
    reason = result.removeprefix("error: ").partition(";")[0].rstrip(".")
    draft.finish(f"I could not do that: {reason}.", answer=("could not", reason))


def list_files(draft: Draft, order: bool = False) -> None:
    """Names all files."""
    for _ in range(draft.rng.choice((0, 1, 2, 2, 3, 4, 5))):
        draft.files[draft.path()] = words.content(draft.rng, draft.split)
    draft.text = draft.word("list", order)
    result = draft.call("storage.list")
    if draft.files:
        names = result.split("\n")
        draft.finish(f"The files are {', '.join(names)}.", answer=tuple(names))
    else:
        draft.finish("There are no files.", answer=("no files",))


def figures_file(draft: Draft, wanted: int) -> tuple[str, list[tuple[str, str, str]]]:
    """A file with figures, one a line: its path, and for `wanted` of them the thing, the figure and a quote of both.

    A quote begins with the thing and goes on as the line does, so that copying finds the figure.
    """
    count = wanted + draft.rng.choice((0, 1, 2, 2, 3, 4))
    pairs = [(draft.noun(), draft.number()) for _ in range(count)]
    while len({thing for thing, _ in pairs}) < count:
        pairs = [(draft.noun(), draft.number()) for _ in range(count)]
    form = draft.rng.choice(("{0}: {1}", "{0}: {1}", "{0} = {1}", "{0} {1}", "{1} {0}", "{0},{1}", "- {0}: {1}"))
    path = draft.path()
    draft.files[path] = "\n".join(form.format(*pair) for pair in pairs)
    quote = "{0}: {1}" if form == "{1} {0}" else form.removeprefix("- ")
    return path, [(thing, value, quote.format(thing, value)) for thing, value in draft.rng.sample(pairs, wanted)]


def figure(draft: Draft, order: bool = False) -> None:
    """One figure out of a file."""
    path, [(thing, value, quote)] = figures_file(draft, 1)
    draft.text = draft.word("figure", order, path=path, thing=thing)
    draft.call("storage.read", path=path)
    draft.finish(f"It says {quote}.", value)
    draft.think(draft.answer)


def unseen(draft: Draft, order: bool = False) -> None:
    """One call of a tool made up on the spot."""
    numeric = order
    kind = draft.rng.choice(("lookup", "lookup", "between")) if order else None
    invention = invent(draft.rng, draft.split, kind, numeric)
    draft.custom.append(invention.tool)
    if order:
        draft.text = draft.order(invention.kind, **invention.slots)
    else:
        draft.text = word_invention(draft.rng, draft.split, invention)
    draft.think(invention.quote())
    result = draft.call(invention.tool.name, **invention.arguments)
    draft.finish(invention.answer(), result)
