"""How tasks are worded: templates with alternatives, split into those for training and those held out.

A template is text with `[a|b|]` for alternatives and `<slot>` for what the task fills in; one template makes dozens
of surfaces. In each skill's list every fifth template is held out as a whole. Templates that begin with a verb can be
wrapped ("Please ...", "Could you ...?"), those that begin with a question word too ("Tell me: ...").
"""

import random
import re

from aios_actors.nano.templates import TEMPLATES, WIDER
from aios_actors.nano.words import Split, listed, nonsense

QUESTION_WORDS = listed("what what's how which who who's where where's is are do does did when why")
REQUEST_WORDS = listed("can could would will may")
# A text that begins with one of these, or with a slot other than a verb, says something instead of ordering it.
STATEMENT_WORDS = listed(
    """
    i i'd i'm we you he she it there this these that here the a an my our your one each every all some if as in to for
    from of on at by with within inside under after before according about out both per also another below between don't
    files further going instead into let's never new now once regarding right someone something through today two using
    without no so here's whatever please task
    """
)
VERB_SLOTS = ("<verb>", "<do>")
# Small words without which an order means the same.
FILLERS = listed("the a an me my our it is are be that this there just so for i you we would please")
ASK_WRAPS = ("{}",) * 14 + (
    "Please tell me: {}",
    "Tell me: {}",
    "I want to know: {}",
    "Quick question: {}",
    "{} Thanks.",
)
SAY_WRAPS = ("{}",) * 12 + ("{} Thank you.", "Your task: {}", "Hello. {}")
DO_WRAPS = ("{}",) * 11 + (
    "Please {}",
    "Please {}",
    "Now {}",
    "Could you {}",
    "Can you {}",
    "I want you to {}",
    "I need you to {}",
    "{} Thank you.",
    "Your task: {}",
)
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def templates_of(skill: str, split: Split) -> tuple[str, ...]:
    """The templates of a skill that belong to `split`: of every five the last is held out."""
    common = len(TEMPLATES[skill])
    numbered = enumerate(TEMPLATES[skill] + WIDER[skill])
    if split is Split.TRAIN:
        return tuple(text for index, text in numbered if index % 5 != 4)
    wider = split is Split.WIDER
    return tuple(text for index, text in numbered if index % 5 == 4 and (index >= common) is wider)


def expand(rng: random.Random, template: str) -> str:
    """Chooses one alternative of each innermost `[a|b]` until none is left."""
    while match := _CHOICE.search(template):
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    return re.sub(" +", " ", template).strip()


def terse(rng: random.Random, text: str) -> str:
    """The text without some of its small words, so that no exact phrase is relied on."""
    return " ".join(word for word in text.split(" ") if word.lower() not in FILLERS or rng.random() < 0.6)


def estranged(rng: random.Random, text: str) -> str:
    """The text with a word that the model cannot know in place of one of its longer ones, or without that word.

    So it learns to go by what else is said, as it has to with a verb that it never met.
    """
    words = text.split(" ")
    longer = [index for index, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if longer:
        words[rng.choice(longer)] = nonsense(rng, Split.TRAIN, (1, 2)) if rng.random() < 0.7 else ""
    return " ".join(filter(None, words))


def word_task(rng: random.Random, split: Split, skill: str, **slots: str) -> str:
    """A task of `skill` in words, with its slots filled in."""
    text = expand(rng, rng.choice(templates_of(skill, split)))
    first = text.split(" ", 1)[0].lower().strip(",:;")
    question = first in QUESTION_WORDS and not text.lower().startswith("do not ")
    statement = first in STATEMENT_WORDS or (first.startswith("<") and first not in VERB_SLOTS)
    if split is Split.TRAIN:
        text = terse(rng, text) if rng.random() < 0.15 else text
        text = estranged(rng, text) if rng.random() < 0.07 else text
    end = "?" if question or first in REQUEST_WORDS else "."
    if rng.random() < 0.12:
        text = text.rstrip("?.")
    elif text[-1] not in "?.!":
        text += end
    wrap = rng.choice(ASK_WRAPS if question else SAY_WRAPS if statement or first in REQUEST_WORDS else DO_WRAPS)
    if (not wrap.startswith("{}") or rng.random() < 0.15) and first not in ("i", "i'd", "i'm"):
        text = text[0].lower() + text[1:]
    text = wrap.format(text)
    # Slots come last, so that what they hold is never taken for a template.
    return re.sub(r"<(\w+)>", lambda match: slots[match[1]], text)
