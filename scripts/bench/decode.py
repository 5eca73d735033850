"""How far our step loop is from llama.cpp's own floor: raw decoding and prefill beside `llama-batched-bench`.

Nothing is shared and nothing is reused: a number of generations side by side, in our worker process with all that it
does (sampling, frames, books), and in llama.cpp's own benchmark, which only decodes, at its best of several settings
for each width. Same weights, threads and lengths. A shared machine's speed changes within minutes, so both sides then
take turns, and the median of the turns' ratios counts. The last rows are what moving a parked context costs.

    python -m scripts.bench.decode [--quick] [--json] [--model GGUF | --shape 135m] [--threads N] [--batched-bench PATH]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import anyio
from msgspec import Struct
from msgspec.structs import replace

from aios_actors.engine.batch import Batch
from aios_actors.engine.model import Model, load
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.engine.worker import SPINS
from aios_actors.kernel.llm_core.generation import UNREAD_REPORT_S
from aios_actors.observe.logs import configure_logs
from scripts.bench import llama_tools
from scripts.bench.choice import add_engine_arguments, chosen_model, chosen_threads, llama_cpp_flags
from scripts.bench.fleet.load import Vocabulary
from scripts.bench.fleet.ours import running_worker
from scripts.bench.fleet.probes import decode_rate, prefill_rate
from scripts.bench.report import Row, add_arguments, report

DECODE_WANTED, PAGING_WANTED = 0.95, 100.0
REPEATS = 3
TURNS = 3
TRIES = 5


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


async def ours(spec: WorkerSpec, sizes: Sizes) -> Rates:
    """Our worker."""
    decode = {}
    # Contexts are as long as they must be, as llama-batched-bench's are: with room for 768 tokens each instead of 192,
    # 32 sequences decoded a tenth fewer tokens/s.
    context, sequences = sizes.prompt + sizes.out, max(sizes.widths)
    async with running_worker(replace(spec, context=context, sequences=sequences)) as worker:
        vocabulary = Vocabulary(worker.info.vocabulary, worker.info.eog_tokens)
        await decode_rate(worker, vocabulary, 1, 16, 4)
        for width in sizes.widths:
            decode[width] = await decode_rate(worker, vocabulary, width, sizes.prompt, sizes.out, UNREAD_REPORT_S)
    async with running_worker(replace(spec, context=sizes.prefill + 1, sequences=1)) as alone:
        await prefill_rate(alone, vocabulary, 16)
        prefill = await prefill_rate(alone, vocabulary, sizes.prefill)
    return Rates(prefill, decode)


class Setting(NamedTuple):
    """Options of llama-batched-bench, and variables of its environment."""

    options: list[str]
    environment: Mapping[str, str] = {}


def settings(info: ModelInfo) -> dict[str, Setting]:
    """What llama-batched-bench is tried with, by name."""
    own = ["-ctk", info.kv_type_k, "-ctv", info.kv_type_v]
    return {
        "split": Setting(["-fa", "off"]),
        "unified": Setting(["-fa", "off", "-kvu"]),
        "unified, flash attention": Setting(["-fa", "on", "-kvu"]),
        "split, our types of KV": Setting(["-fa", "off", *own]),
        "split, our types of KV and spinning": Setting(["-fa", "off", *own], SPINS),
        "unified, our types of KV": Setting(["-fa", "off", "-kvu", *own]),
    }


def batched_bench(program: Path, common: list[str], setting: Setting, sizes: Sizes) -> Rates:
    """llama-batched-bench in one setting. Raises RuntimeError if it fails."""
    environment = {**os.environ, **setting.environment}

    def run(prompt: int, out: int, widths: tuple[int, ...]) -> list[dict[str, float]]:
        lengths = ["-c", str(max(widths) * (prompt + out)), "-npp", str(prompt), "-ntg", str(out)]
        command = [str(program), *common, *setting.options, *lengths, "-npl", ",".join(map(str, widths))]
        command += ["--output-format", "jsonl"]
        # It prints from a thread of its own, and now and then ends before that has written everything.
        for _ in range(TRIES):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            if len(lines) == len(widths):
                return lines
        raise RuntimeError(f"{' '.join(command)} printed {len(lines)} results: {done.stderr[-500:]}")

    decode = {int(line["pl"]): line["speed_tg"] for line in run(sizes.prompt, sizes.out, sizes.widths)}
    return Rates(run(sizes.prefill, 1, (1,))[0]["speed_pp"], decode)


def best_settings(tried: Mapping[str, Rates]) -> dict[int, str]:
    """Which setting of llama-batched-bench was the fastest, by width; 0 is prefill."""
    widths = next(iter(tried.values())).decode
    best = {width: max(tried, key=lambda name: tried[name].decode[width]) for width in widths}
    return {0: max(tried, key=lambda name: tried[name].prefill)} | best


def compare(turns: list[tuple[Rates, dict[str, Rates]]], best: Mapping[int, str], sizes: Sizes) -> list[Row]:
    """Rows of each width beside the best setting for it, and how long a step takes beyond llama.cpp's own.

    Args:
        turns: what both sides reached in each turn, llama-batched-bench by setting.
        best: the setting that counts for each width, and with 0 for prefill.
        sizes: the widths.
    """
    rows = []
    for width in sizes.widths:
        pairs = [(mine.decode[width], others[best[width]].decode[width]) for mine, others in turns]
        what = f"decode, {width} at once"
        beyond = statistics.median((1 / mine - 1 / floor) * width * 1e3 for mine, floor in pairs)
        rows += beside(what, pairs, best[width], DECODE_WANTED)
        rows.append(Row(f"{what}: a step beyond its floor", beyond, "ms"))
    pairs = [(mine.prefill, others[best[0]].prefill) for mine, others in turns]
    return rows + beside(f"prefill of {sizes.prefill}", pairs, best[0])


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


def alternate(base: WorkerSpec, program: Path, flags: list[str], sizes: Sizes) -> list[Row]:
    """Finds llama-batched-bench's best settings, then lets both sides take turns."""
    chosen = settings(anyio.run(model_info, base))
    tried = {}
    for name, setting in chosen.items():
        print(f"llama-batched-bench, {name}", file=sys.stderr, flush=True)
        tried[name] = batched_bench(program, flags, setting, sizes)
    best = best_settings(tried)
    turns = []
    for turn in range(TURNS):
        print(f"turn {turn + 1} of {TURNS}", file=sys.stderr, flush=True)
        mine = anyio.run(ours, base, sizes)
        turns.append((mine, {n: batched_bench(program, flags, chosen[n], sizes) for n in {*best.values()}}))
    return compare(turns, best, sizes)


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    sizes = Sizes((1, 4), 32, 16, 128, 256) if options.quick else Sizes()
    model, threads = chosen_model(options), chosen_threads(options)
    base = WorkerSpec(str(model), "bench", threads=threads, gpu_layers=options.gpu_layers, speculate="off")
    program = options.batched_bench or llama_tools.binary("llama-batched-bench")
    if program is not None:
        rows = alternate(base, program, llama_cpp_flags(model, threads, options.gpu_layers), sizes)
    else:
        print("llama-batched-bench: skipped, build it with scripts.bench.llama_tools", file=sys.stderr)
        rows = own_rows("aios_actors", base, sizes)
    if options.gpu_layers:
        rows += own_rows("tokens chosen on the device", replace(base, device_sampling=True), sizes)
    return rows + paging(replace(base, context=sizes.page + 48, sequences=1), sizes.page)


def own_rows(name: str, spec: WorkerSpec, sizes: Sizes) -> list[Row]:
    """What our worker reaches with these settings, beside nothing."""
    mine = anyio.run(ours, spec, sizes)
    rows = [Row(f"decode, {width} at once: {name}", rate, "tokens/s") for width, rate in mine.decode.items()]
    return [*rows, Row(f"prefill of {sizes.prefill}: {name}", mine.prefill, "tokens/s")]


def main() -> None:
    """Reads the command line, measures, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_engine_arguments(parser)
    parser.add_argument("--batched-bench", type=Path, help="the binary, if not the one that llama_tools built")
    add_arguments(parser)
    options = parser.parse_args()
    configure_logs("error")
    report("decode", measure(options), options)


if __name__ == "__main__":
    main()
