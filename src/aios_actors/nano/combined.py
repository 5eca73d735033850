"""Combinations of skills: two and three steps, delegation, refusals.

The first part of a combination is an order from skills.py that yields a figure; what follows uses it.
"""

from collections.abc import Callable

from msgspec.structs import replace

from aios_actors.nano import skills, words
from aios_actors.nano.draft import Draft
from aios_actors.nano.unseen import invent
from aios_actors.nano.world import lookup_key

Skill = Callable[[Draft, bool], None]


def figure_times(draft: Draft, order: bool = False) -> None:
    """A figure from a file, multiplied."""
    path, [(thing, value, quote)] = skills.figures_file(draft, 1)
    n = draft.number((1, 1, 2))
    draft.text = draft.word("figure_times", order, path=path, thing=thing, n=n)
    draft.call("storage.read", path=path)
    draft.think(f"It says {quote}.")
    result = draft.call("calculator", expression=f"{value}*{n}")
    draft.finish(f"{value} times {n} is {result}.", result)


def figure_sum(draft: Draft, order: bool = False) -> None:
    """Two figures from one file, added."""
    path, [(x, a, first), (y, b, second)] = skills.figures_file(draft, 2)
    draft.text = draft.word("figure_sum", order, path=path, x=x, y=y)
    draft.call("storage.read", path=path)
    draft.think(f"It says {first} and {second}.")
    result = draft.call("calculator", expression=f"{a}+{b}")
    draft.finish(f"{a} plus {b} is {result}.", result)


def sum_files(draft: Draft, order: bool = False) -> None:
    """The numbers in two files, added."""
    p, a, b = draft.path(), draft.number(), draft.number()
    draft.files[p] = a
    q = draft.path()
    draft.files[q] = b
    draft.text = draft.word("sum_files", order, p=p, q=q)
    for path, thought in ((p, f"The first is {a}."), (q, f"The second is {b}.")):
        draft.call("storage.read", path=path)
        draft.think(thought)
    result = draft.call("calculator", expression=f"{a}+{b}")
    draft.finish(f"{a} plus {b} is {result}.", result)


def recall_times(draft: Draft, order: bool = False) -> None:
    """A remembered figure, multiplied."""
    attr, who, value = skills.know(draft, numeric=True)
    skills.stock_facts(draft, attr, who)
    n = draft.number((1, 1, 2))
    draft.text = draft.word("recall_times", order, attr=attr, who=who, n=n)
    draft.call("memory.search", query=f"{attr} of {who}")
    draft.think(f"The {attr} of {who} is {value}.")
    result = draft.call("calculator", expression=f"{value}*{n}")
    draft.finish(f"{value} times {n} is {result}.", result)


def recall_sum(draft: Draft, order: bool = False) -> None:
    """Two remembered figures, added."""
    attr, x, a = skills.know(draft, numeric=True)
    y, b = draft.entity(), draft.number()
    draft.facts.append(f"the {attr} of {y} is {b}")
    draft.text = draft.word("recall_sum", order, attr=attr, x=x, y=y)
    for who in (x, y):
        draft.call("memory.search", query=f"{attr} of {who}")
    draft.think(f"The {attr} of {x} is {a}, the {attr} of {y} is {b}.")
    result = draft.call("calculator", expression=f"{a}+{b}")
    draft.finish(f"{a} plus {b} is {result}.", result)


def _answers(draft: Draft, agent: str, task: str, answer: str) -> None:
    draft.agents.setdefault(agent, {})[task] = answer


def _agent(draft: Draft) -> str:
    return draft.rng.choice(skills.AGENT_NAMES) if draft.rng.random() < 0.6 else words.nonsense(draft.rng, draft.split)


def ask_for(draft: Draft, order: bool = False) -> None:
    """Gets a figure from another agent."""
    agent, attr, who, value = _agent(draft), draft.noun(), draft.entity(), words.value(draft.rng, draft.split)
    answer = f"The {attr} of {who} is {value}."
    _answers(draft, agent, f"what is the {attr} of {who}?", answer)
    draft.text = draft.word("ask_for", order, agent=agent, attr=attr, who=who)
    draft.call("agents.ask", agent=agent, task=f"what is the {attr} of {who}?")
    draft.finish(answer, value)
    draft.think(answer)


BASES: tuple[Skill, ...] = (
    *(skills.arithmetic,) * 6,
    *(skills.arithmetic_three,) * 2,
    *(figure_times, figure_sum, sum_files, recall_times, recall_sum, skills.figure, skills.recall, ask_for),
)


def _base(draft: Draft) -> str:
    """The first part of a combination, as an order."""
    draft.rng.choice(BASES)(draft, True)
    return draft.text


def _capital(draft: Draft, text: str, do: str) -> str:
    """The text with a capital where it begins with the order; a path keeps the letters that it has."""
    return text[0].upper() + text[1:] if text.startswith(do) and draft.rng.random() < 0.8 else text


def then_write(draft: Draft, base: Skill | None = None) -> None:
    """A figure, written to a file."""
    do = _base(draft) if base is None else (base(draft, True), draft.text)[1]
    path, value = draft.path(), draft.value
    draft.text = _capital(draft, draft.word("then_write", do=do, path=path), do)
    draft.call("storage.write", path=path, content=value)
    draft.finish(f"I wrote {value} to {path}.", value, files={path: value})


def then_append(draft: Draft) -> None:
    """A figure, appended to a file."""
    path = draft.path()
    before = words.content(draft.rng, draft.split)
    draft.files[path] = before
    do = _base(draft)
    value = draft.value
    draft.text = _capital(draft, draft.word("then_append", do=do, path=path), do)
    draft.call("storage.append", path=path, content=value)
    draft.finish(f"I added {value} to {path}.", value, files={path: f"{before}\n{value}"})


def then_remember(draft: Draft) -> None:
    """A figure, remembered under a name."""
    do = _base(draft)
    value = draft.value
    name = f"the {draft.noun()}" + (f" of {draft.entity()}" if draft.rng.random() < 0.5 else "")
    draft.text = _capital(draft, draft.word("then_remember", do=do, name=name), do)
    fact = f"{name} is {value}"
    draft.call("memory.add", text=fact)
    draft.finish(f"Saved: {fact}.", value, facts=(fact,))


def recall_write(draft: Draft) -> None:
    """A remembered value, written to a file."""
    attr, who, value = skills.know(draft)
    skills.stock_facts(draft, attr, who)
    path = draft.path()
    draft.text = draft.word("recall_write", attr=attr, who=who, path=path)
    draft.call("memory.search", query=f"{attr} of {who}")
    draft.think(f"The {attr} of {who} is {value}.")
    draft.call("storage.write", path=path, content=value)
    draft.finish(f"I wrote {value} to {path}.", value, files={path: value})


def read_remember(draft: Draft) -> None:
    """A file's line, remembered."""
    path, fact = draft.path(), skills.free_fact(draft)
    draft.files[path] = fact
    draft.text = draft.word("read_remember", path=path)
    draft.call("storage.read", path=path)
    draft.call("memory.add", text=fact)
    draft.finish("Saved.", facts=(fact,))


def copy(draft: Draft) -> None:
    """A file's line, written to another file."""
    p, content = draft.path(), words.content(draft.rng, draft.split)
    draft.files[p] = content
    q = draft.path()
    draft.text = draft.word("copy", p=p, q=q)
    draft.call("storage.read", path=p)
    draft.call("storage.write", path=q, content=content)
    draft.finish(f"I wrote {content} to {q}.", files={q: content})


SUBTASKS: tuple[Skill, ...] = (
    *(skills.arithmetic,) * 3,
    *(skills.recall, skills.write, skills.remember, skills.list_files, skills.read, skills.figure, figure_times),
)


def _subtask(draft: Draft) -> tuple[str, str, str]:
    """A task for another agent, without its full stop, with the agent's answer and figure."""
    inner = Draft(draft.rng, draft.split)
    draft.rng.choice(SUBTASKS)(inner, False)
    text = inner.text.rstrip(".")
    if draft.rng.random() < 0.5:
        text = text[0].lower() + text[1:]
    return text, inner.answer, inner.value


def delegate(draft: Draft) -> None:
    """Hands a task to another agent, word for word, and reports its answer; some agents do not exist."""
    agent = _agent(draft)
    task, answer, value = _subtask(draft)
    draft.text = draft.word("delegate", agent=agent, task=task)
    if draft.rng.random() < 0.08:
        others = [_agent(draft) for _ in range(draft.rng.choice((1, 2, 3, 5)))]
        draft.agents |= {other: {} for other in others if other != agent}
        skills.failed(draft, draft.call("agents.ask", agent=agent, task=task))
        return
    _answers(draft, agent, task, answer)
    draft.call("agents.ask", agent=agent, task=task)
    draft.finish(answer, answer=(value or answer,))


def delegate_two(draft: Draft) -> None:
    """Two tasks for two agents in sequence; the second may use what the first found."""
    x, y = _agent(draft), _agent(draft)
    first, answer, value = _subtask(draft)
    first = first.rstrip("?")
    while ". " in first or "Thank" in first:
        first, answer, value = _subtask(draft)
    if value and draft.rng.random() < 0.6:
        word, path, n = draft.rng.choice(("it", "the result", "the answer")), draft.path(), draft.number((1, 2))
        form, end = draft.rng.choice(
            (("write {}", f" to {path}"), ("multiply {}", f" by {n}"), ("append {}", f" to {path}"))
        )
        asked, second = form.format(word) + end, form.format(value) + end
        verb = {"write": f"I wrote {value} to {path}.", "append": f"I added {value} to {path}."}
        reply = verb.get(form.split()[0], f"The result is {draft.number()}.")
    else:
        second, reply, _ = _subtask(draft)
        asked = second
    _answers(draft, x, first, answer)
    _answers(draft, y, second, reply)
    draft.text = draft.word("delegate_two", x=x, first=first, y=y, second=asked)
    draft.call("agents.ask", agent=x, task=first)
    draft.call("agents.ask", agent=y, task=second)
    draft.finish(reply, answer=(reply.rstrip("."),))


def cannot(draft: Draft) -> None:
    """No tool fits: either nothing could, or the tool that would is not there."""
    if draft.rng.random() < 0.45:
        draft.text = draft.word("cannot", who=draft.entity(), attr=draft.noun())
    else:
        inner = Draft(draft.rng, draft.split)
        choices = (skills.arithmetic, skills.recall, skills.write, skills.read, skills.remember, skills.list_files)
        draft.rng.choice((*choices, skills.unseen))(inner, False)
        draft.text, draft.removed = inner.text, inner.needs()
    draft.finish("I cannot do that with my tools.", answer=("cannot",))


def unseen_chain(draft: Draft) -> None:
    """The result of one made-up tool is the argument of the next."""
    first = invent(draft.rng, draft.split, "lookup", numeric=False)
    middle = first.result
    second = invent(draft.rng, draft.split, "lookup")
    parameter = second.tool.parameters[0].name
    tool = replace(second.tool, answers={lookup_key({parameter: middle}): second.result})
    draft.custom += [first.tool, tool]
    inner, outer, who = first.slots["attr"], second.slots["attr"], first.slots["who"]
    draft.text = draft.word("chain", inner=inner, outer=outer, who=who)
    # What comes first is said before its tool is looked for.
    draft.think(f"First the {inner} of {who}: {first.quote()}")
    draft.call(first.tool.name, **first.arguments)
    draft.think(f"Then the {outer} of {middle}: {second.quote()}")
    draft.call(tool.name, **{parameter: middle})
    draft.finish(f"The {outer} of {middle} is {second.result}.", second.result)


def unseen_then(draft: Draft) -> None:
    """A made-up tool's result, written to a file."""
    then_write(draft, skills.unseen)
