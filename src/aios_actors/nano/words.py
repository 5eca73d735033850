"""Names, numbers, paths and contents for the nano model's tasks, drawn from one of two splits.

Every word, number, code and path belongs to exactly one split, decided by a checksum of its text: `TRAIN` is what the
model may see, `HELD_OUT` is what the benchmark uses. Nonsense names are also built from disjoint syllables: a training
name has no reserved syllable, a held-out name has at least one. Numbers below 10 belong to training only.
All draws come from the `random.Random` that is passed in, so one seed gives one data set.
"""

import random
import zlib
from collections.abc import Callable
from enum import Enum


def listed(text: str) -> tuple[str, ...]:
    """The words of `text`."""
    return tuple(text.split())


_SIMPLE = listed("b c d f g h j k l m n p r s t v w z")
_CLUSTERS = listed("bl br ch cl cr dr fl fr gl gr kl kr pl pr qu sh sk sl sn sp st th tr y zw")
ONSETS = _SIMPLE * 3 + _CLUSTERS
NUCLEI = listed("a a a a e e e e i i i o o o o u u u ai ea io ou y")
CODAS = ("",) * 14 + listed("b d f g k l l m n n p r r s t th x z ld lf lm mp nd ng nt rd rk rn sh st")

# A leading-space form of these words is one token (see tokenizer.py). No name starts with one of them, so that a name's
# tokens do not depend on what stands before it: were ` to` a token, ` tower` would be copied to `"tower` less reliably.
SPACED_WORDS = listed(
    """
    the and then what that with you this from into how many much which does there are for has have tell please
    result number answer agent another remember remembered cannot could not tools your where when who will file
    files write wrote give gives times plus minus divided multiplied difference between product line append read
    compute calculate work ask know need want find look save store using use each more they them some under here now
    first second says said found nothing string integer boolean array its was were all any about out tool task path
    content text query memory storage agents calculator expression arithmetic fact facts returns
    """
)
CAPITAL_WORDS = listed("The Evaluates Finds Remembers Reads Writes Appends Lists Hands")

NOUNS = listed(
    """
    code colour price weight height key age city password phone address capital owner captain author salary budget
    score rank size speed length width depth name title author email room seat gate floor door lock badge plan
    project recipe song book game team club school shop farm garden river lake hill tower bridge road harbour island
    forest engine wheel lamp clock table chair bottle basket bucket hammer ladder window mirror blanket jacket
    pencil paper apple pear plum lemon onion carrot bean rice bread butter cheese honey sugar coffee tea milk horse
    goat sheep duck rabbit parrot spider turtle planet moon star comet rocket robot sensor cable battery module
    server packet invoice order ticket parcel coupon meeting birthday holiday hobby language currency flag anthem
    metal mineral flavour texture climate altitude pressure temperature voltage signal channel branch commit release
    version license region district village member guest pilot nurse doctor teacher student baker miner sailor
    tailor painter singer dancer writer clerk judge mayor report summary stock total count limit quota level share
    rate tax fee fine bonus grant loan debt profit margin visitor customer supplier contract deadline machine
    printer scanner camera tablet drone kettle freezer heater pump valve pipe tank
    """
)
PEOPLE = listed(
    """
    Alice Bruno Clara David Elena Felix Greta Hugo Irene Jonas Karin Lucas Maria Nadia Oscar Paula Quentin Rosa
    Simon Tanya Ulrich Vera Walter Xenia Yusuf Zelda Anton Beata Carlos Diana Emil Fiona Georg Hanna Ivan Julia Kofi
    Laura Mehmet Nora Omar Priya Ravi Sofia Tomas Uma Victor Wendy Amir Bella Chen Dora Erik Fatima Paris London
    Berlin Madrid Oslo Rome Vienna Cairo Delhi Tokyo Lima Quito Boston Denver Dublin Geneva Kyoto Lagos Milan Prague
    Riga Sydney Turin Zurich
    """
)
FOLDERS = listed(
    """
    notes data logs reports inbox docs tmp work lists archive out home team plans drafts results info stuff
    """
)
STEMS = listed(
    """
    notes report log list data todo summary result results budget plan diary numbers sales stock inventory totals
    output memo draft letter index journal status scores prices counts answers readme items shopping agenda minutes
    figures
    """
)
NOUNS, FOLDERS, STEMS = (
    tuple(word for word in pool if not word.startswith(SPACED_WORDS)) for pool in (NOUNS, FOLDERS, STEMS)
)
EXTENSIONS = ("txt", "txt", "txt", "txt", "md", "csv", "log", "dat")


class Split(Enum):
    """Which of the disjoint pools a draw comes from."""

    TRAIN = "train"
    HELD_OUT = "held_out"
    WIDER = "wider"
    """Held-out names too, in tasks that are worded in less usual ways."""

    @property
    def names(self) -> "Split":
        """The pool that its names, numbers and paths come from."""
        return Split.TRAIN if self is Split.TRAIN else Split.HELD_OUT


def split_of(text: str) -> Split:
    """The split that `text` belongs to, ignoring case: one in eight is held out."""
    return Split.HELD_OUT if zlib.crc32(text.lower().encode()) % 8 == 0 else Split.TRAIN


def is_reserved_syllable(syllable: str) -> bool:
    """Whether a syllable occurs in held-out names only (about one in nine)."""
    return zlib.crc32(b"syllable:" + syllable.encode()) % 9 == 0


def _draw(rng: random.Random, split: Split, make: Callable[[], str]) -> str:
    """Draws from `make` until the text belongs to `split`."""
    while True:
        text = make()
        if split_of(text) is split.names:
            return text


def pick(rng: random.Random, split: Split, pool: tuple[str, ...]) -> str:
    """One of `pool` that belongs to `split`."""
    return _draw(rng, split, lambda: rng.choice(pool))


def nonsense(rng: random.Random, split: Split, syllables: tuple[int, ...] = (2, 2, 2, 2, 3, 3)) -> str:
    """A lower-case nonsense word, e.g. `zorvek`; `syllables` lists the lengths to draw from."""
    while True:
        parts = [rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS) for _ in range(rng.choice(syllables))]
        if rng.random() < 0.1:  # real words often begin with a vowel
            parts[0] = parts[0].lstrip("bcdfghjklmnpqrstvwxz")
        word = "".join(parts)
        reserved = any(is_reserved_syllable(part) for part in parts)
        if len(word) < 4 or word.startswith(SPACED_WORDS) or reserved is not (split is not Split.TRAIN):
            continue
        if split_of(word) is split.names:
            return word


def entity(rng: random.Random, split: Split) -> str:
    """The name of a person, place or thing, e.g. `Miravel`, `TolvekZan`, `Dorn Hasp`, `Paris`."""
    kind = rng.random()
    if kind < 0.62:
        return nonsense(rng, split, (2, 2, 2, 3, 3, 4)).capitalize()
    if kind < 0.72:
        return nonsense(rng, split).capitalize() + nonsense(rng, split, (1, 2)).capitalize()
    if kind < 0.80:
        return nonsense(rng, split).capitalize() + " " + nonsense(rng, split).capitalize()
    if kind < 0.86:
        return nonsense(rng, split).capitalize() + "-" + number(rng, split, (2, 3))
    return pick(rng, split, PEOPLE)


def noun(rng: random.Random, split: Split) -> str:
    """An attribute or a thing, e.g. `blorf` or `price`; half of them are nonsense."""
    return nonsense(rng, split, (1, 2, 2)) if rng.random() < 0.55 else pick(rng, split, NOUNS)


def number(rng: random.Random, split: Split, digits: tuple[int, ...] = (1, 2, 2, 2, 3, 3, 4, 5)) -> str:
    """A whole number as text; `digits` lists the lengths to draw from. Held-out numbers are at least 10."""

    def make() -> str:
        length = rng.choice(digits)
        low = 10 ** (length - 1) if length > 1 else 2
        return str(rng.randrange(low, 10**length))

    while True:
        text = make()
        if len(text) == 1:
            if split is Split.TRAIN:
                return text
        elif split_of(text) is split.names:
            return text


def decimal(rng: random.Random, split: Split) -> str:
    """A number with one or two decimals, e.g. `3.5`."""
    return _draw(
        rng, split, lambda: f"{rng.randrange(0, 200)}.{rng.choice(('5', '25', '75', str(rng.randrange(1, 10))))}"
    )


def code(rng: random.Random, split: Split) -> str:
    """A code such as `KX-4821`."""

    def make() -> str:
        letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.choice((1, 2, 2, 3))))
        return f"{letters}-{rng.randrange(10, 10 ** rng.choice((2, 3, 4)))}"

    return _draw(rng, split, make)


def value(rng: random.Random, split: Split) -> str:
    """What a fact or a look-up says: a number, a code, a name or a word."""
    kind = rng.random()
    if kind < 0.5:
        return number(rng, split, (1, 2, 3, 4, 4, 5, 6))
    if kind < 0.65:
        return code(rng, split)
    if kind < 0.85:
        return entity(rng, split)
    return noun(rng, split)


def path(rng: random.Random, split: Split) -> str:
    """A relative path, e.g. `notes/zorvek-12.txt`."""

    def make() -> str:
        kind = rng.random()
        stem = nonsense(rng, split, (1, 2, 2, 3)) if kind < 0.6 else rng.choice(STEMS)
        if rng.random() < 0.2:
            stem += rng.choice("-_") + (
                nonsense(rng, split, (1, 2)) if rng.random() < 0.4 else number(rng, split, (1, 2, 2))
            )
        folder = ""
        if rng.random() < 0.3:
            folder = (rng.choice(FOLDERS) if rng.random() < 0.6 else nonsense(rng, split, (1, 2))) + "/"
        return f"{folder}{stem}.{rng.choice(EXTENSIONS)}"

    return _draw(rng, split, make)


def content(rng: random.Random, split: Split) -> str:
    """A short line of text to write to a file or to remember."""
    kind = rng.random()
    if kind < 0.25:
        return value(rng, split)
    words = []
    for _ in range(rng.choice((2, 2, 3, 3, 4, 5))):
        kind = rng.random()
        if kind < 0.6:
            words.append(noun(rng, split))
        elif kind < 0.8:
            words.append(entity(rng, split))
        else:
            words.append(number(rng, split))
    return " ".join(words)
