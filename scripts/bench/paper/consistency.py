"""Do context switches change what agents say? The same generations, with switches of every kind and without.

The generations are agents' first answers to held-out tasks, up to their ends. The reference runs each alone, from its
first token to its last. Every other mode switches: a generation runs for a slice of tokens, then another one gets the
place, and it goes on later from its tokens. What happens to its KV meanwhile is the mode: it stays resident, is paged
to host memory or to disk, or dies with its worker (`kill -9`) and is computed again. Half of the generations are
greedy, half are drawn with a seed.

As long as every batch has the reference's shape nothing may differ. So that prompts are computed in the same pieces
everywhere, each begins with a token of its own: none shares a prefix with another one. Wider batches, and computing a
context again in one piece, make llama.cpp round differently in the last bits; where that turned a choice, the margin of
the reference is shown.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio
from msgspec.structs import replace

from aios_actors.engine.messages import ChatMessage, ChatPrompt, Sampling, TokenPrompt
from aios_actors.engine.pages import WORTHWHILE
from aios_actors.engine.protocol import EngineStats, Submit, TokenLogprob
from aios_actors.engine.sampling import uniform
from aios_actors.engine.spec import WorkerSpec
from aios_actors.nano.tasks import held_out_tasks
from scripts.bench.fleet.endpoint import EndpointError
from scripts.bench.fleet.load import Vocabulary
from scripts.bench.fleet.ours import WorkerEndpoint, running_worker
from scripts.bench.measures import mean
from scripts.bench.paper.distance import bleu, first_difference, similarity
from scripts.bench.paper.findings import Figure, Findings
from scripts.bench.paper.options import Options
from scripts.bench.report import Row

OUT = 96
# What is shorter is computed again rather than paged, in one piece: that would be another batch shape.
SLICE = WORTHWHILE
TEMPERATURE, TOP_K = 0.8, 20


class Mode(NamedTuple):
    """A way to run the generations.

    Attributes:
        name: in the table.
        places: sequences of the worker.
        at_once: generations that take turns on them.
        settings: fields of the worker's spec, such as where its pages may go.
        crash: the worker is killed when each generation has had one slice, and a new one computes on.
        wanted: share of the generations that must be equal.
        paged: whether it is about pages, so that without any it would prove nothing.
    """

    name: str
    places: int
    at_once: int
    settings: Mapping[str, Any] = {}
    crash: bool = False
    wanted: float = 1.0
    paged: bool = False


NEARLY_ALL = 0.99
ONE = {"kv_unified": False}  # no more places than sequences: who does not run has to go
MODES = (
    Mode("resident", 1, 1),
    Mode("host memory", 1, 2, {"disk_memory": 0, **ONE}, paged=True),
    Mode("disk", 1, 8, {"host_memory": 1 << 20, **ONE}, paged=True),  # room for a page or two on their way
    Mode("computed again", 1, 2, {"host_memory": 0, "disk_memory": 0, **ONE}, wanted=NEARLY_ALL),
    Mode("8 in a batch, 32 take turns", 8, 32, wanted=NEARLY_ALL),
    Mode("worker killed", 8, 10_000, crash=True, wanted=NEARLY_ALL),
)


class Generation(NamedTuple):
    """What to generate."""

    number: int
    prompt: ChatPrompt | TokenPrompt
    sampling: Sampling


@dataclass
class Output:
    """What a generation with switches has come to."""

    tokens: tuple[int, ...] = ()
    slices: int = 0
    ended: bool = False


class Whole(NamedTuple):
    """A generation without a switch: its tokens, and the likeliest candidates for each."""

    tokens: tuple[int, ...]
    candidates: tuple[TokenLogprob, ...]


def generations(count: int) -> list[Generation]:
    """Tasks of the held-out set; every second one is sampled with a seed of its own."""
    found = []
    for number, task in enumerate(held_out_tasks(3, count, False)):
        prompt = ChatPrompt((ChatMessage("system", task.system), ChatMessage("user", task.input)))
        sampling = Sampling(max_tokens=OUT)
        if number % 2:
            sampling = replace(sampling, temperature=TEMPERATURE, top_k=TOP_K, seed=number)
        found.append(Generation(number, prompt, sampling))
    return found


async def run(options: Options) -> Findings:
    """See the module."""
    wanted = generations(16 if options.quick else 500)
    spec = WorkerSpec(str(options.model), "bench", threads=options.threads, context=1024, speculate="off")
    findings = Findings()
    async with running_worker(replace(spec, sequences=1)) as worker:
        options.say("consistency: without switches")
        vocabulary = Vocabulary(worker.info.vocabulary, worker.info.eog_tokens)
        wanted = [await _apart(worker, vocabulary, each) for each in wanted]
        reference = {each.number: await _whole(worker, each) for each in wanted}
    bars: list[tuple[float | str, float]] = []
    for mode in MODES:
        options.say(f"consistency: {mode.name}")
        ran, stats = await _switched(spec, mode, wanted)
        outputs = {number: output.tokens for number, output in ran.items()}
        findings.rows += rows(mode, wanted, reference, outputs)
        switches = sum(output.slices - 1 for output in ran.values())
        findings.rows.append(Row(f"{mode.name}: switches", switches, f"of {len(ran)} generations"))
        least, ok = (1.0, stats.pages_in > 0) if mode.paged else (None, None)
        findings.rows.append(Row(f"{mode.name}: pages brought back", stats.pages_in, "pages", "", least, ok))
        findings.rows.append(Row(f"{mode.name}: on disk at the end", stats.disk_bytes / 2**20, "MiB"))
        bars.append((mode.name, mean(outputs[n] == whole.tokens for n, whole in reference.items()) * 100))
    title = f"{len(wanted)} generations with context switches, beside the same without"
    findings.figures.append(Figure("consistency", title, "meanwhile", "equal, %", {"exact match": bars}, "bars"))
    return findings


async def _apart(worker: WorkerEndpoint, vocabulary: Vocabulary, each: Generation) -> Generation:
    """The generation with a prompt whose first token no other one's has."""
    return each._replace(prompt=TokenPrompt((vocabulary.nth(each.number), *await worker.tokenize(each.prompt))))


async def _whole(worker: WorkerEndpoint, each: Generation) -> Whole:
    """A generation in one piece. Its candidates are those that sampling saw: the filters keep no more."""
    ran = await worker.submit(Submit(each.number, each.prompt, replace(each.sampling, logprobs=TOP_K)))
    return Whole(ran.result.tokens, ran.logprobs)


async def _switched(
    spec: WorkerSpec, mode: Mode, wanted: Sequence[Generation]
) -> tuple[dict[int, Output], EngineStats]:
    """All generations with switches, by number, and the counters of the last worker."""
    spec = replace(spec, sequences=mode.places, **mode.settings)
    outputs = {each.number: Output() for each in wanted}
    if mode.crash:
        async with running_worker(spec) as worker:
            await _turns(worker, mode, wanted, outputs, most=1)
            # Those that the first slices did not end are in the midst of their next one when the worker dies.
            async with anyio.create_task_group() as group:
                group.start_soon(_survive, worker, mode, wanted, outputs)
                await worker.stats()
                worker.process.kill()
    async with running_worker(spec) as worker:
        await _turns(worker, mode, wanted, outputs)
        return outputs, await worker.stats()


async def _survive(
    worker: WorkerEndpoint, mode: Mode, wanted: Sequence[Generation], outputs: Mapping[int, Output]
) -> None:
    """Turns that end with the worker: only whole slices are kept."""
    try:
        await _turns(worker, mode, wanted, outputs)
    except* EndpointError:
        pass


async def _turns(
    worker: WorkerEndpoint,
    mode: Mode,
    wanted: Sequence[Generation],
    outputs: Mapping[int, Output],
    most: int = OUT,
) -> None:
    """Lets generations take turns, `mode.at_once` at a time, each at most `most` of them; keeps them in `outputs`."""
    ids = itertools.count(1)
    limiter = anyio.CapacityLimiter(mode.at_once)

    async def generate(each: Generation) -> None:
        output, name = outputs[each.number], f"generation-{each.number}"
        async with limiter:
            for _ in range(most):
                if output.ended:
                    return
                submit = Submit(next(ids), each.prompt, each.sampling, None, output.tokens, name, slice=SLICE)
                ran = await worker.submit(submit)
                output.tokens, output.slices = ran.result.tokens, output.slices + 1
                output.ended = ran.finish != "slice"

    async with anyio.create_task_group() as group:
        for each in wanted:
            group.start_soon(generate, each)


def rows(
    mode: Mode,
    wanted: Sequence[Generation],
    reference: Mapping[int, Whole],
    outputs: Mapping[int, tuple[int, ...]],
) -> Iterator[Row]:
    """How alike the outputs of a mode are to the reference, and by which margins differences were chosen."""
    for kind, chosen in (("greedy", 0.0), ("seeded", TEMPERATURE)):
        pairs = [
            (reference[each.number].tokens, outputs[each.number])
            for each in wanted
            if each.sampling.temperature == chosen
        ]
        share = mean(a == b for a, b in pairs)
        name = f"{mode.name}, {kind}"
        ok = share >= mode.wanted
        yield Row(f"{name}: exact match of {len(pairs)}", share, "share", "no switch", mode.wanted, ok)
        yield Row(f"{name}: BLEU", bleu(pairs), "", "no switch")
        yield Row(f"{name}: 1 less the edit distance", mean(similarity(a, b) for a, b in pairs), "", "no switch")
    found = list(margins(wanted, reference, outputs))
    if found:
        yield Row(f"{mode.name}: largest margin of a choice that turned", max(found), "nats or probability")


def margins(
    wanted: Iterable[Generation], reference: Mapping[int, Whole], outputs: Mapping[int, tuple[int, ...]]
) -> Iterator[float]:
    """For each generation that differs: by how much the reference preferred its token where they part.

    For a greedy choice that is the gap in natural-log probability to the other token; for a drawn one the distance in
    probability from the random number to the nearer end of the chosen token's interval.
    """
    for each in wanted:
        whole, other = reference[each.number], outputs[each.number]
        index = first_difference(whole.tokens, other)
        if index is None:
            continue
        candidates = whole.candidates[index]
        if each.sampling.temperature == 0.0:
            known = dict(candidates.top)
            # What is not among the likeliest is at least as far away as the last of them.
            yield candidates.logprob - known.get(other[index], candidates.top[-1][1])
        else:
            yield drawn_margin(candidates, each.sampling, index)


def drawn_margin(candidates: TokenLogprob, sampling: Sampling, index: int) -> float:
    """Distance from the random number of a draw to the nearer end of the interval that it fell into."""
    # The sampler's intervals lie in the order of the vocabulary.
    kept = sorted(candidates.top)
    weights = [math.exp((logprob - candidates.top[0][1]) / sampling.temperature) for _, logprob in kept]
    ends = [end / sum(weights) for end in itertools.accumulate(weights)]
    place = [token for token, _ in kept].index(candidates.token)
    drawn = uniform(sampling.seed, index)
    return min(abs(drawn - (ends[place - 1] if place else 0.0)), abs(ends[place] - drawn))
