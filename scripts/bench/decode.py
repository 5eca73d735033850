"""How far our step loop is from llama.cpp's own floor: raw decoding and prefill beside `llama-batched-bench`.

Nothing is shared and nothing is reused: a number of generations side by side, in our worker process with all that it
does (sampling, frames, books), and in llama.cpp's own benchmark, which only decodes, at its best of several settings
for each width. Same weights, threads and lengths. A shared machine's speed changes within seconds, so both sides then
take turns at each width, and the median of the turns' ratios counts. The last rows are what moving a parked context
costs.

    python -m scripts.bench.decode [--quick] [--json] [--model GGUF | --shape 135m] [--threads N]
        [--turns N] [--batched-bench PATH]
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
from msgspec import Struct
from msgspec.structs import replace

from aios_actors.engine.batch import Batch
from aios_actors.engine.environment import BRIEF_SPINS, HUGE_PAGES
from aios_actors.engine.model import Model, load
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.kernel.llm_core.generation import UNREAD_REPORT_S
from aios_actors.observe.logs import configure_logs
from scripts.bench import llama_tools
from scripts.bench.choice import READ_WEIGHTS, add_engine_arguments, chosen_model, chosen_threads, llama_cpp_flags
from scripts.bench.fleet.load import Vocabulary
from scripts.bench.fleet.ours import WorkerEndpoint, running_worker
from scripts.bench.fleet.probes import decode_rate, prefill_rate
from scripts.bench.report import Row, add_arguments, report

DECODE_WANTED, PAGING_WANTED = 0.95, 100.0
REPEATS = 3
TURNS = 7
TRIES = 30


class Sizes(Struct, frozen=True):
    """Lengths in tokens; `widths` are numbers of generations side by side."""

    widths: tuple[int, ...] = (1, 4, 8, 16, 32)
    prompt: int = 128
    out: int = 64
    prefill: int = 512
    page: int = 2000


class Rates(Struct, frozen=True):
    """Tokens a second; `decode` by width."""

    prefill: float
    decode: dict[int, float]


async def model_info(spec: WorkerSpec) -> ModelInfo:
    """What our worker says of the model and its settings."""
    async with running_worker(replace(spec, context=512, sequences=1)) as worker:
        return worker.info


class Ours:
    """Our worker, or rather two: one for prefill, whose context has room for nothing else.

    With `may_end` nothing keeps generations from ending early, as random weights hardly ever do: only then a device
    may choose the tokens.
    """

    def __init__(self, decoding: WorkerEndpoint, prefilling: WorkerEndpoint, sizes: Sizes, *, may_end: bool) -> None:
        self._may_end = may_end
        self._decoding = decoding
        self._prefilling = prefilling
        self._sizes = sizes
        self._vocabulary = Vocabulary(decoding.info.vocabulary, decoding.info.eog_tokens)
        self._prompts = itertools.count()

    async def rate(self, width: int) -> float:
        """Tokens a second at a width, or with 0 of prefill."""
        sizes, vocabulary, number = self._sizes, self._vocabulary, next(self._prompts)
        if not width:
            return await prefill_rate(self._prefilling, vocabulary, sizes.prefill, number)
        lengths = sizes.prompt, sizes.out
        return await decode_rate(
            self._decoding, vocabulary, width, *lengths, UNREAD_REPORT_S, number=number, may_end=self._may_end
        )

    async def rates(self) -> Rates:
        """All of them."""
        decode = {width: await self.rate(width) for width in self._sizes.widths}
        return Rates(await self.rate(0), decode)


@contextlib.asynccontextmanager
async def ours(spec: WorkerSpec, sizes: Sizes) -> AsyncIterator[Ours]:
    """Starts our workers and warms them up."""
    # Contexts are as long as they must be, as llama-batched-bench's are: with room for 768 tokens each instead of 192,
    # 32 sequences decoded a tenth fewer tokens/s.
    context, sequences = sizes.prompt + sizes.out, max(sizes.widths)
    async with (
        running_worker(replace(spec, context=context, sequences=sequences)) as decoding,
        running_worker(replace(spec, context=sizes.prefill + 1, sequences=1)) as prefilling,
    ):
        side = Ours(decoding, prefilling, sizes, may_end=spec.device_sampling)
        for width in (0, 1):
            await side.rate(width)
        yield side


class Setting(NamedTuple):
    """Options of llama-batched-bench, and variables of its environment."""

    options: list[str]
    environment: Mapping[str, str] = {}


def settings(info: ModelInfo) -> dict[str, Setting]:
    """What llama-batched-bench is tried with, by name; memory and waiting threads matter on a CPU alone."""
    plain = {
        "split": Setting(["-fa", "off"]),
        "split, flash attention": Setting(["-fa", "on"]),
        "unified": Setting(["-fa", "off", "-kvu"]),
        "unified, flash attention": Setting(["-fa", "on", "-kvu"]),
    }
    if info.gpu_layers:
        return plain
    own = ["-ctk", info.kv_type_k, "-ctv", info.kv_type_v]
    return plain | {
        "split, our types of KV": Setting(["-fa", "off", *own]),
        "split, our types of KV and memory": Setting(["-fa", "off", *own, *READ_WEIGHTS], HUGE_PAGES),
        "split, all of ours": Setting(["-fa", "off", *own, *READ_WEIGHTS], HUGE_PAGES | BRIEF_SPINS),
        "unified, our types of KV": Setting(["-fa", "off", "-kvu", *own]),
    }


class BatchedBench:
    """llama-batched-bench with the options that all settings have in common."""

    def __init__(self, program: Path, common: list[str], sizes: Sizes) -> None:
        self._command = [str(program), *common]
        self._sizes = sizes

    def rates(self, setting: Setting) -> Rates:
        """All of them, in one setting. Raises RuntimeError if it fails."""
        decode = self._run(setting, self._sizes.prompt, self._sizes.out, self._sizes.widths)
        return Rates(self.rate(setting, 0), {int(line["pl"]): line["speed_tg"] for line in decode})

    def rate(self, setting: Setting, width: int) -> float:
        """Tokens a second at a width, or with 0 of prefill. Raises RuntimeError if it fails."""
        if not width:
            return self._run(setting, self._sizes.prefill, 1, (1,))[0]["speed_pp"]
        return self._run(setting, self._sizes.prompt, self._sizes.out, (width,))[0]["speed_tg"]

    def _run(self, setting: Setting, prompt: int, out: int, widths: tuple[int, ...]) -> list[dict[str, float]]:
        lengths = ["-c", str(max(widths) * (prompt + out)), "-npp", str(prompt), "-ntg", str(out)]
        command = [*self._command, *setting.options, *lengths, "-npl", ",".join(map(str, widths))]
        command += ["--output-format", "jsonl"]
        environment = {**os.environ, **setting.environment}
        # It prints from a thread of its own, and now and then ends before that has written everything.
        for _ in range(TRIES):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            if len(lines) == len(widths):
                return lines
        raise RuntimeError(f"{' '.join(command)} printed {len(lines)} results: {done.stderr[-500:]}")


def best_settings(tried: Mapping[str, Rates]) -> dict[int, str]:
    """Which setting of llama-batched-bench was the fastest, by width; 0 is prefill."""
    widths = next(iter(tried.values())).decode
    best = {width: max(tried, key=lambda name: tried[name].decode[width]) for width in widths}
    return {0: max(tried, key=lambda name: tried[name].prefill)} | best


def compare(turns: Mapping[int, list[tuple[float, float]]], best: Mapping[int, str], sizes: Sizes) -> list[Row]:
    """Rows of each width beside the best setting for it, and how long a step takes beyond llama.cpp's own.

    Args:
        turns: what both sides reached in each turn, by width; 0 is prefill.
        best: the setting of llama-batched-bench by width.
        sizes: the widths.
    """
    rows = []
    for width in sizes.widths:
        what = f"decode, {width} at once"
        beyond = statistics.median((1 / mine - 1 / floor) * width * 1e3 for mine, floor in turns[width])
        rows += beside(what, turns[width], best[width], DECODE_WANTED)
        rows.append(Row(f"{what}: a step beyond its floor", beyond, "ms"))
    return rows + beside(f"prefill of {sizes.prefill}", turns[0], best[0])


def beside(what: str, pairs: list[tuple[float, float]], setting: str, wanted: float | None = None) -> list[Row]:
    """Medians of our rate, of that of llama-batched-bench in a setting, and of their ratio in each turn."""
    ratio = statistics.median(mine / floor for mine, floor in pairs)
    ok = None if wanted is None else ratio >= wanted
    return [
        Row(f"{what}: aios_actors", statistics.median(mine for mine, _ in pairs), "tokens/s"),
        Row(f"{what}: llama-batched-bench", statistics.median(floor for _, floor in pairs), "tokens/s", setting),
        Row(what, ratio, "ratio", f"{len(pairs)} turns", wanted, ok),
    ]


def paging(spec: WorkerSpec, tokens: int) -> list[Row]:
    """A context of `tokens` moved out to host memory and back, against computing it anew; the median of several."""
    model = load(spec)
    ids = Vocabulary(model.vocab.size, tuple(model.vocab.eog)).draw(tokens, "page")
    computed, moved, size = [], [], 0
    for _ in range(REPEATS):
        model.truncate(0, 0)
        began = time.perf_counter()
        prefill(model, ids)
        computed.append(time.perf_counter() - began)
        began = time.perf_counter()
        state = model.save(0)
        model.truncate(0, 0)
        if not model.restore(0, state):
            raise RuntimeError("llama.cpp refused a state of its own")
        moved.append(time.perf_counter() - began)
        size = len(state)
    model.close()
    what = f"page out and in of {tokens} tokens ({size / 2**20:.0f} MiB)"
    ratio = statistics.median(computed) / statistics.median(moved)
    return [
        Row(what, statistics.median(moved) * 1e3, "ms"),
        Row(f"{what}: faster", ratio, "ratio", "computing them", PAGING_WANTED, ratio >= PAGING_WANTED),
    ]


def prefill(model: Model, ids: tuple[int, ...]) -> None:
    """Computes the KV of `ids` in sequence 0, as the step loop does: in batches, with logits for the last token."""
    batch = Batch(model.batch)
    for start in range(0, len(ids), model.batch):
        batch.clear()
        chunk = ids[start : start + model.batch]
        batch.add(0, chunk, start, outputs=int(start + len(chunk) == len(ids)))
        if model.decode(batch.raw) != 0:
            raise RuntimeError(f"llama_decode failed{model.last_error()}")
    model.logits(1)


async def alternate(base: WorkerSpec, bench: BatchedBench, sizes: Sizes, number: int) -> list[Row]:
    """Finds llama-batched-bench's best settings, then lets both sides take turns, width by width, so many times."""
    chosen = settings(await model_info(base))
    tried = {}
    for name, setting in chosen.items():
        print(f"llama-batched-bench, {name}", file=sys.stderr, flush=True)
        tried[name] = await anyio.to_thread.run_sync(bench.rates, setting)
    best = best_settings(tried)
    turns: dict[int, list[tuple[float, float]]] = {width: [] for width in (0, *sizes.widths)}
    async with ours(base, sizes) as side:
        for turn in range(number):
            print(f"turn {turn + 1} of {number}", file=sys.stderr, flush=True)
            for width, pairs in turns.items():
                mine = await side.rate(width)
                pairs.append((mine, await anyio.to_thread.run_sync(bench.rate, chosen[best[width]], width)))
    return compare(turns, best, sizes)


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    sizes = Sizes((1, 4), 32, 16, 128, 256) if options.quick else Sizes()
    model, threads = chosen_model(options), chosen_threads(options)
    base = WorkerSpec(str(model), "bench", threads=options.threads, gpu_layers=options.gpu_layers, speculate="off")
    program = options.batched_bench or llama_tools.binary("llama-batched-bench")
    if program is not None:
        bench = BatchedBench(program, llama_cpp_flags(model, threads, options.gpu_layers), sizes)
        rows = anyio.run(alternate, base, bench, sizes, options.turns)
    else:
        print("llama-batched-bench: skipped, build it with scripts.bench.llama_tools", file=sys.stderr)
        rows = own_rows("aios_actors", base, sizes)
    if options.gpu_layers:
        rows += own_rows("tokens chosen on the device", replace(base, device_sampling=True), sizes)
    return rows + paging(replace(base, context=sizes.page + 48, sequences=1), sizes.page)


def own_rows(name: str, spec: WorkerSpec, sizes: Sizes) -> list[Row]:
    """What our worker reaches with these settings, beside nothing."""

    async def reached() -> Rates:
        async with ours(spec, sizes) as side:
            return await side.rates()

    mine = anyio.run(reached)
    rows = [Row(f"decode, {width} at once: {name}", rate, "tokens/s") for width, rate in mine.decode.items()]
    return [*rows, Row(f"prefill of {sizes.prefill}: {name}", mine.prefill, "tokens/s")]


def main() -> None:
    """Reads the command line, measures, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_engine_arguments(parser)
    parser.add_argument("--turns", type=int, default=TURNS, help="that both sides take at each width")
    parser.add_argument("--batched-bench", type=Path, help="the binary, if not the one that llama_tools built")
    add_arguments(parser)
    options = parser.parse_args()
    configure_logs("error")
    report("decode", measure(options), options)


if __name__ == "__main__":
    main()
