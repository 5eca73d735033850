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
from aios_actors.nano.templates import TEMPLATES, WIDER
from aios_actors.nano.words import Split


def slots(text: str) -> list[str]:
    return sorted(re.findall(r"<\w+>", text))


def test_of_every_five_templates_the_last_is_held_out() -> None:
    for skill, common in TEMPLATES.items():
        everything = common + WIDER[skill]
        trained, held_out, wider = (set(templates_of(skill, split)) for split in Split)
        assert not trained & (held_out | wider), skill
        assert held_out == set(common[4::5])
        assert wider == set(everything[4::5]) - held_out
        assert trained | held_out | wider == set(everything)


def test_variation_keeps_every_slot() -> None:
    rng = random.Random(1)
    for skill in TEMPLATES:
        for template in TEMPLATES[skill] + WIDER[skill]:
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
