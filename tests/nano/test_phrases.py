"""Wordings: held-out ones are not trained on, and training ones are varied without losing what the task says."""

import random
import re

from aios_actors.nano.phrases import (
    ASK_WRAPS,
    DO_WRAPS,
    FILLERS,
    SAY_WRAPS,
    estranged,
    expand,
    templates_of,
    terse,
    word_task,
)
from aios_actors.nano.templates import TEMPLATES
from aios_actors.nano.words import Split


def slots(text: str) -> list[str]:
    return sorted(re.findall(r"<\w+>", text))


def test_of_every_five_templates_the_last_is_held_out() -> None:
    for skill, templates in TEMPLATES.items():
        trained, held_out = templates_of(skill, Split.TRAIN), templates_of(skill, Split.HELD_OUT)
        assert not set(trained) & set(held_out), skill
        assert len(held_out) == len(templates) // 5


def test_variation_keeps_every_slot() -> None:
    rng = random.Random(1)
    for templates in TEMPLATES.values():
        for template in templates:
            text = expand(rng, template)
            assert slots(terse(rng, text)) == slots(text)
            assert slots(estranged(rng, text)) == slots(text)


def test_terse_text_lacks_small_words_only() -> None:
    text = "write the sum of <x> and <y> to a file for me"
    short = {terse(random.Random(seed), text) for seed in range(50)}
    assert len(short) > 4
    assert all(
        [word for word in one.split() if word not in FILLERS] == "write sum of <x> and <y> to file".split()
        for one in short
    )


def test_held_out_tasks_are_worded_as_the_templates_are() -> None:
    said = set[str]()
    for seed in range(300):
        said |= set(word_task(random.Random(seed), Split.HELD_OUT, "recall", attr="price", who="Oslo").split())
    known = " ".join((*TEMPLATES["recall"], *ASK_WRAPS, *SAY_WRAPS, *DO_WRAPS, "price Oslo")).lower()
    assert {word.lower() for word in re.findall(r"\w+", " ".join(said))} <= set(re.findall(r"\w+", known))
