"""Many seeded runs of the engine on a real llama.cpp context, with times that scatter as on a busy machine.

The model is a tiny one of random weights, which are not rounded. In every second run its KV is not either, and
llama.cpp's attention computes; in the others ours does. Each seed draws settings (sequences, cells, batch, budgets of
host memory and disk, speculation), a clock, and requests: prompts that share beginnings, conversations that go on,
constraints, tools, priorities, slices. Some are cancelled, preempted or forgotten on the way. After each run: every
request ended exactly once, with the tokens that it gets alone, and the cache's books add up. In very few they may
differ, as llama.cpp sums otherwise in another batch: where two tokens were as good as equally likely, or where a random
number lay on the border of two.

    python -m scripts.soak.engine [--seeds 2000] [--first 0]
"""

import itertools
import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import (
    ChatMessage,
    ChatPrompt,
    JsonSchema,
    Sampling,
    TextPrompt,
    ToolCalls,
)
from aios_actors.engine.model import Model, load
from aios_actors.engine.protocol import Result, Submit, TokenLogprob
from aios_actors.engine.spec import WorkerSpec
from scripts.bench.make_model import SHAPES, write
from scripts.soak.command import run_seeds
from tests.engine.driving import MOST_STEPS, SCHEMA, TOOLS, Driver

MOST_OTHERWISE = 0.001  # of all requests
TIE = 0.001  # nats
ATTENTIONS: tuple[dict[str, Any], ...] = ({"kv_type_k": "f32", "kv_type_v": "f32"}, {})  # llama.cpp's, ours
PLAIN = Sampling(ignore_eos=True)
DRAWN = Sampling(temperature=0.9, top_p=0.95, repeat_penalty=1.2, ignore_eos=True)


class Alone(NamedTuple):
    """What a request comes to without others, slices and pages, and each token's likeliest competitors."""

    result: Result
    candidates: tuple[TokenLogprob, ...]


class Requests:
    """Draws requests, and knows what each comes to when it runs alone with the same `attention`."""

    def __init__(self, gguf: Path, attention: dict[str, Any]) -> None:
        self.attention = attention
        self._model = load(spec(gguf, sequences=1, **attention))
        self._known: dict[bytes, Alone] = {}

    def draw(self, draw: random.Random, number: int) -> Submit:
        """The next request."""
        talk, tools = draw.randrange(10), TOOLS if draw.random() < 0.3 else ()
        system = ChatMessage("system", "You share this beginning. " * draw.randrange(1, 7))
        user = ChatMessage("user", f"Part {talk} " * draw.randrange(1, 14))
        text = TextPrompt(f"w{talk % 4} " * draw.randrange(1, 120))
        calls = ToolCalls(draw.choice(["auto", "required"])) if tools else None
        return Submit(
            number,
            text if draw.random() < 0.2 else ChatPrompt((system, user), tools),
            replace(
                draw.choice([PLAIN, DRAWN]), max_tokens=draw.choice([3, 12, 40, 120, 300]), seed=draw.randrange(100)
            ),
            draw.choice([None, None, JsonSchema(SCHEMA), calls]),
            conversation=draw.choice(["", f"talk-{talk}"]),
            priority=draw.choice([0, 0, 0, 1, 5]),
            slice=draw.choice([0, 0, 3, 16]),
        )

    def alone(self, submit: Submit) -> Alone:
        """See `Alone`."""
        sampling = replace(submit.sampling, logprobs=5)
        submit = replace(submit, id=0, sampling=sampling, conversation="", priority=0, slice=0)
        key = msgspec.msgpack.encode(submit)
        if key not in self._known:
            self._model.truncate(0, 0)
            driver = Driver(Engine(self._model))
            result = driver.run(submit)[submit.id]
            self._known[key] = Alone(result, tuple(each for event in driver.events for each in event.logprobs))
        return self._known[key]

    def close(self) -> None:
        """Gives the model back."""
        self._model.close()


def spec(gguf: Path, **settings: Any) -> WorkerSpec:
    """A worker's settings."""
    own = {"context": 512, "threads": 1, "speculate": "off"}
    return WorkerSpec(str(gguf), "tiny", **{**own, **settings})


def engine_of(draw: random.Random, gguf: Path, folder: str, attention: dict[str, Any]) -> tuple[Engine, Model]:
    """An engine with drawn settings and a drawn clock."""
    cells = draw.choice([512, 600])
    cache: dict[str, Any] = draw.choice([{}, {"kv_unified": False}, {"kv_unified": True}, {"cells": cells}])
    model = load(
        spec(
            gguf,
            **attention,
            **cache,
            sequences=draw.choice([1, 2, 3, 4, 8]),
            batch=draw.choice([64, 512]),
            speculate=draw.choice(["auto", "on", "off"]),
            host_memory=draw.choice([0, 1 << 17, 1 << 20, 1 << 26]),
            disk_folder=folder,
            disk_memory=draw.choice([0, 1 << 20, 1 << 26]),
        )
    )
    scale = draw.choice([1e-5, 1e-4, 1e-3])
    ticks = (draw.expovariate(1 / scale) * draw.choice([1] * 18 + [50, 500]) for _ in itertools.count())
    clock = itertools.accumulate(ticks)
    return Engine(model, clock=lambda: next(clock)), model


def run(seed: int, gguf: Path, requests: Requests, counts: Counter[str]) -> None:
    """One run. Raises AssertionError if something does not hold."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        engine, model = engine_of(draw, gguf, folder, requests.attention)
        submits: dict[int, Submit] = {}
        ended: dict[int, tuple[str, Result]] = {}
        left = draw.randrange(5, 30)
        for step in itertools.count():
            if not left and not engine.has_work:
                break
            assert step < MOST_STEPS, f"it goes on and on: {engine._waiting}, {engine.kv.slots}"
            if left and (not engine.has_work or draw.random() < 0.3):
                submit = requests.draw(draw, left)
                submits[submit.id], left = submit, left - 1
                engine.submit(submit)
            disturb(engine, draw, [number for number in submits if number not in ended])
            for event in engine.step():
                if event.finish:
                    assert event.id not in ended and event.result is not None, event
                    ended[event.id] = event.finish, event.result
        check(engine, requests, submits, ended, counts)
        stats = engine.stats()
        counts.update(finish for finish, _ in ended.values())
        counts.update(pages_out=stats.pages_out, pages_in=stats.pages_in, cached=stats.cached_tokens)
        counts.update(suspended=stats.suspended, drafted=stats.drafted_tokens, steps=stats.steps)
        engine.kv.pages.close()
        model.close()


def disturb(engine: Engine, draw: random.Random, live: list[int]) -> None:
    """What happens to requests and conversations from outside, now and then."""
    chance, talk = draw.random(), f"talk-{draw.randrange(10)}"
    if live and chance < 0.003:
        engine.cancel(draw.choice(live))
    elif live and chance < 0.01:
        engine.preempt(draw.choice(live))
    elif chance < 0.03:
        engine.forget(talk)
    elif chance < 0.08:
        engine.kv.hold(talk, draw.random() / 2)


def check(
    engine: Engine,
    requests: Requests,
    submits: dict[int, Submit],
    ended: dict[int, tuple[str, Result]],
    counts: Counter[str],
) -> None:
    """What must hold at the end. Raises AssertionError."""
    assert ended.keys() == submits.keys()
    for number, (finish, result) in ended.items():
        alone, interrupted = requests.alone(submits[number]), finish in ("preempted", "cancelled")
        assert result.error == alone.result.error or interrupted, (submits[number], result.error)
        whole = finish != "slice" and not interrupted
        expected = alone.result.tokens if whole else alone.result.tokens[: len(result.tokens)]
        counts.update(requests=1, otherwise=result.tokens != expected)
        plain = submits[number].sampling.temperature == 0.0 and submits[number].constraint is None
        if result.tokens != expected and plain:
            assert margin(alone, result.tokens) <= TIE, (finish, submits[number])
    stats, slots, pages = engine.stats(), engine.kv.slots, engine.kv.pages
    assert (stats.running, stats.waiting) == (0, 0)
    assert not any(slot.leased for slot in slots)
    for slot in slots:
        assert engine.model.resident(slot.index) == slot.length, slot
    assert pages.bytes <= engine.model.spec.host_memory and pages.disk_bytes <= engine.model.spec.disk_memory


def margin(alone: Alone, tokens: tuple[int, ...]) -> float:
    """How much likelier the token was, in nats, that the request gets alone where `tokens` first differ from it."""
    for token, wanted, candidates in zip(tokens, alone.result.tokens, alone.candidates, strict=False):
        if token != wanted:
            return candidates.logprob - dict(candidates.top).get(token, -math.inf)
    return math.inf


def soak(seeds: Iterable[int]) -> Counter[str]:
    """Runs all seeds; what happened in them. Raises AssertionError with the first seed that fails."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "tiny.gguf"
        write(SHAPES["tiny"], gguf, name="tiny", floats=True)
        kinds = [Requests(gguf, attention) for attention in ATTENTIONS]
        for seed in seeds:
            try:
                run(seed, gguf, kinds[seed % len(kinds)], counts)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        for requests in kinds:
            requests.close()
    assert counts["otherwise"] <= max(MOST_OTHERWISE * counts["requests"], 1), counts
    return counts


if __name__ == "__main__":
    run_seeds(__doc__, soak, 2000)
