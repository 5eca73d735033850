"""What is measured beside the fleets: raw rates, the stall of decoders by a long prefill, a cold start of many.

Contract: each probe takes an endpoint that is otherwise idle and returns plain numbers, in seconds or tokens a second.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

import anyio

from scripts.bench.fleet.endpoint import Answer, Endpoint, Request
from scripts.bench.fleet.load import Vocabulary
from scripts.bench.measures import percentile

WIDTHS = (1, 8, 16)


class Rates:
    """The best rates seen in a run, in tokens a second."""

    def __init__(self, prefill: float, decode: float) -> None:
        self.prefill = prefill
        self.decode = decode

    def seconds(self, prefill: int, decode: int) -> float:
        """The time that a load takes if everything runs at the best rates: no engine can do better."""
        return prefill / self.prefill + decode / self.decode


async def gather(
    endpoint: Endpoint, requests: Sequence[Request], on_first: Callable[[], None] | None = None
) -> list[Answer]:
    """Completes all at the same time; the answers in order. `on_first` is called for each one's first token."""
    answers: dict[int, Answer] = {}

    async def one(index: int, request: Request) -> None:
        answers[index] = await endpoint.complete(request, on_first)

    async with anyio.create_task_group() as group:
        for index, request in enumerate(requests):
            group.start_soon(one, index, request)
    return [answers[index] for index in range(len(requests))]


async def best_rates(endpoint: Endpoint, vocabulary: Vocabulary, prompt: int, out: int) -> Rates:
    """Prefill of one prompt of `prompt` tokens, and decoding of `out` tokens at the best of several widths."""
    prefill = await prefill_rate(endpoint, vocabulary, prompt)
    decode = [await decode_rate(endpoint, vocabulary, width, 16, out) for width in WIDTHS]
    return Rates(prefill, max(decode))


async def prefill_rate(endpoint: Endpoint, vocabulary: Vocabulary, prompt: int, number: int = 0) -> float:
    """Tokens a second up to the first token after a prompt that shares nothing with others of another `number`."""
    request = Request(f"prefill-{prompt}", vocabulary.draw(prompt, "prefill", prompt, number), 1)
    began = time.perf_counter()
    answer = await endpoint.complete(request)
    return prompt / (answer.stamps[0] - began)


async def decode_rate(
    endpoint: Endpoint,
    vocabulary: Vocabulary,
    width: int,
    prompt: int,
    out: int,
    report_s: float = 0.0,
    *,
    number: int = 0,
    may_end: bool = False,
) -> float:
    """Tokens a second of `width` generations after prompts of `prompt` tokens, while all of them decode.

    The prompts share nothing with those of another `number`, so they are computed just before.
    """
    prompts = [vocabulary.draw(prompt, "decode", width, n, number) for n in range(width)]
    requests = [
        Request(f"decode-{width}-{n}", each, out, report_s=report_s, may_end=may_end) for n, each in enumerate(prompts)
    ]
    # Prompts come first: else the first generations may be over when the last ones begin.
    await gather(endpoint, [Request(each.agent, each.tokens, 1) for each in requests])
    answers = await gather(endpoint, requests)
    if min(each.stamps[-1] for each in answers) <= max(each.stamps[0] for each in answers):
        return 0.0  # they never decoded together
    # Tokens may be told several at a time; between its first and its last, each generation's are taken to come evenly.
    return sum((len(each.tokens) - 1) / (each.stamps[-1] - each.stamps[0]) for each in answers)


async def stall(
    endpoint: Endpoint, vocabulary: Vocabulary, *, prompt: int, decoders: int, out: int
) -> tuple[float, float]:
    """p99 of the time between two tokens of `decoders`: while they are alone, and while a prompt is prefilled.

    Args:
        endpoint: what to measure.
        vocabulary: to draw the prompts from.
        prompt: length of the prompt that comes when the decoders have generated for a while.
        decoders: how many generations run meanwhile.
        out: tokens that each of them generates; enough to outlast the prefill, or its end is not seen.
    """
    requests = [Request(f"decoder-{n}", vocabulary.draw(32, "decoder", n), out) for n in range(decoders)]
    alone = await gather(endpoint, [Request(f"{r.agent}-alone", r.tokens, max(out // 4, 8)) for r in requests])
    answers: list[Answer] = []
    window = [0.0, 0.0]
    loop, decoding, started = asyncio.get_running_loop(), asyncio.Event(), itertools.count(1)

    def on_first() -> None:
        if next(started) == decoders:
            loop.call_soon_threadsafe(decoding.set)

    async def decode() -> None:
        answers.extend(await gather(endpoint, requests, on_first))

    async with anyio.create_task_group() as group:
        group.start_soon(decode)
        await decoding.wait()
        window[0] = time.perf_counter()
        long = await endpoint.complete(Request("long", vocabulary.draw(prompt, "long"), 1))
        window[1] = long.stamps[0]
    return percentile(gaps(alone), 0.99), percentile(gaps(answers, *window), 0.99)


def gaps(answers: Sequence[Answer], start: float = 0.0, end: float = float("inf")) -> list[float]:
    """Times between two neighbouring tokens of one answer, where both are within the window."""
    return [
        later - earlier
        for answer in answers
        for earlier, later in zip(answer.stamps, answer.stamps[1:], strict=False)
        if start <= earlier and later <= end
    ]


async def cold_start(endpoint: Endpoint, vocabulary: Vocabulary, *, agents: int, shared: int) -> float:
    """Seconds until the last of many agents, who start together on one prompt that is not cached, has a token."""
    prefix = vocabulary.draw(shared, "cold start")
    requests = [Request(f"cold-{n}", prefix + vocabulary.draw(8, "cold", n), 2) for n in range(agents)]
    began = time.perf_counter()
    return max(answer.stamps[0] for answer in await gather(endpoint, requests)) - began
