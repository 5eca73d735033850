"""Training batches: traces and copy drills as token arrays, bucketed by length.

A batch is (tokens, weights), each (rows, length). `weights[r, t]` is the weight of the loss for predicting token t of
row r from those before it: 1 inside assistant turns, `OTHER_WEIGHT` elsewhere, 0 for padding and the first token.
Copy drills are random tokens repeated, and lists of pairs that are asked again; they make the model learn to copy
long before it would from traces alone.
"""

import itertools
import random
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aios_actors.nano import words
from aios_actors.nano.chat import CONTROL_TOKENS, TURN_END, TURN_START, conversation, trace
from aios_actors.nano.tasks import Task, training_tasks
from aios_actors.nano.words import Split

OTHER_WEIGHT = 0.02
# Each length divides 5,040, so a batch has that many tokens to predict (or a multiple of it) whatever its length, and
# matrix products always have the same shapes. A CPU backend prepares a kernel for each new shape; with free shapes that
# took most of a step.
BATCH_TOKENS = 5040
LENGTHS = tuple(length for length in range(80, 1009) if BATCH_TOKENS % length == 0)
Row = tuple[list[int], list[float]]
Batch = tuple[NDArray[np.int64], NDArray[np.float32]]


def trace_weights(tokenizer: Tokenizer, ids: list[int]) -> list[float]:
    """The loss weight of every token of a trace."""
    start, end = tokenizer.token_to_id(TURN_START), tokenizer.token_to_id(TURN_END)
    header = tokenizer.encode("assistant\n").ids
    weights = [OTHER_WEIGHT] * len(ids)
    position = 0
    while position < len(ids):
        if ids[position] == start and ids[position + 1 : position + 1 + len(header)] == header:
            position += 1 + len(header)
            while ids[position] != end:
                weights[position] = 1.0
                position += 1
            weights[position] = 1.0
        position += 1
    return weights


def chats(tasks: list[Task], rng: random.Random) -> list[str]:
    """Chats, most of one task, some of two. Attention over long ones costs more than listing the tools once saves."""
    # In a longer chat another task's tools would be there, so what cannot be done stays alone.
    alone = [task for task in tasks if task.skill == "cannot"]
    together = [task for task in tasks if task.skill != "cannot"]
    texts = [trace(task, rng) for task in alone]
    start = 0
    while start < len(together):
        count = rng.choice((1, 1, 1, 1, 2))
        texts.append(conversation(together[start : start + count], rng))
        start += count
    return texts


def repeat_drill(rng: random.Random, tokenizer: Tokenizer) -> Row:
    """Random tokens, then the same again; the repetition counts in full."""
    low, high = len(CONTROL_TOKENS), tokenizer.get_vocab_size()
    block = [rng.randrange(low, high) for _ in range(rng.randrange(6, 40))]
    copies = rng.choice((2, 2, 3))
    return block * copies, [0.0] * len(block) + [1.0] * len(block) * (copies - 1)


def pairs_drill(rng: random.Random, tokenizer: Tokenizer) -> Row:
    """Lines of a name and its value, then some of the names again, whose values count in full.

    In some drills the names begin alike, so that more than the last token before the value has to be met. In some the
    list has the value before the name. In some names and values are random tokens, so that no token is a stranger.
    """
    separator = tokenizer.encode(rng.choice((": ", ": ", " = ", " is ", ",", " "))).ids
    between = tokenizer.encode(rng.choice((": ", " ", " ", ", "))).ids
    end = tokenizer.encode(rng.choice(("\n", "\n", " and ", ". "))).ids
    newline = tokenizer.encode("\n").ids
    value_first = rng.random() < 0.35
    pairs = _pairs(rng, tokenizer)
    asked = [rng.choice(pairs) for _ in range(rng.randrange(2, 6))]
    ids: list[int] = []
    for name, value in pairs:
        ids += (value + between + name if value_first else name + separator + value) + newline
    weights = [OTHER_WEIGHT] * len(ids)
    for name, value in asked:
        ids += name + separator + value + end
        weights += [OTHER_WEIGHT] * len(name + separator) + [1.0] * len(value) + [OTHER_WEIGHT] * len(end)
    return ids, weights


def _pairs(rng: random.Random, tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """Different names and a value for each, as tokens."""
    count = rng.randrange(2, 9)
    if rng.random() < 0.3:

        def drawn() -> list[int]:
            return [rng.randrange(len(CONTROL_TOKENS), tokenizer.get_vocab_size()) for _ in range(rng.randrange(1, 5))]

        return [(list(name), drawn()) for name in {tuple(drawn()) for _ in range(count)}]
    draw = rng.choice((words.entity, words.noun))
    head = rng.choice(("", "", f"the {words.noun(rng, Split.TRAIN)} of "))
    names = sorted({head + draw(rng, Split.TRAIN) for _ in range(count)})
    rng.shuffle(names)
    return [(tokenizer.encode(name).ids, tokenizer.encode(words.value(rng, Split.TRAIN)).ids) for name in names]


def bucketed(rows: list[Row], rng: random.Random, batch_tokens: int = BATCH_TOKENS) -> list[Batch]:
    """Cuts rows into batches of `batch_tokens` tokens to predict, each row in the shortest length that holds it.

    What does not fill a batch moves on to the next length, and the last batch is filled up with empty rows. Rows
    that no length holds are left out. Batches come in random order.
    """
    rows = sorted(rows, key=lambda row: len(row[0]))
    batches: list[Batch] = []
    waiting: list[Row] = []
    start = 0
    for length in LENGTHS:
        end = start
        while end < len(rows) and len(rows[end][0]) <= length + 1:
            end += 1
        waiting += rows[start:end]
        start = end
        size = batch_tokens // length
        while len(waiting) >= size or (waiting and length == LENGTHS[-1]):
            batches.append(padded(waiting[:size], size, length + 1))
            waiting = waiting[size:]
    rng.shuffle(batches)
    return batches


def padded(rows: list[Row], size: int, length: int) -> Batch:
    """`rows` as arrays of `size` rows of `length` tokens; what is missing has weight 0."""
    tokens = np.zeros((size, length), np.int64)
    weights = np.zeros((size, length), np.float32)
    for index, (ids, shares) in enumerate(rows):
        tokens[index, : len(ids)] = ids
        weights[index, : len(ids)] = shares
    weights[:, 0] = 0.0
    return tokens, weights


def training_batches(
    tokenizer: Tokenizer,
    seed: int | str,
    drill_share: Callable[[int], float],
    pool: int = 1536,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[Batch]:
    """An endless stream of batches, made from `pool` rows at a time.

    `drill_share` gives the share of copy drills after so many tokens of this stream.
    """
    rng = random.Random(f"batches {seed}")
    stream = training_tasks(seed)
    made = 0
    while True:
        drills = int(pool * drill_share(made))
        texts = chats(list(itertools.islice(stream, pool - drills)), rng)
        rows = [(one.ids, trace_weights(tokenizer, one.ids)) for one in tokenizer.encode_batch(texts)]
        rows += [rng.choice((repeat_drill, pairs_drill, pairs_drill))(rng, tokenizer) for _ in range(drills)]
        made += sum(len(ids) for ids, _ in rows)
        yield from bucketed(rows, rng, batch_tokens)
