"""Runs the fleets and prints the table.

    python -m scripts.bench.fleet [--quick] [--json] [--model GGUF | --shape 135m] [--fleets ABCD] [--threads N]
        [--llama-server PATH] [--settings NAME,...] [--python-server PATH] [--against URL]...

Without `--llama-server` the one is taken that `scripts.bench.llama_tools` built; so is the example server, if
`--python-server` comes without a path. What is missing is skipped with a word. Without `--model` a random-weight GGUF
of `--shape` is made in `build/models`; `--quick` takes the embedded model and small fleets.
"""

import argparse
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
from msgspec.structs import replace

from aios_actors.engine.spec import WorkerSpec
from scripts.bench import llama_tools
from scripts.bench.choice import add_engine_arguments, chosen_model, chosen_threads
from scripts.bench.fleet.endpoint import Endpoint, EndpointError, Side
from scripts.bench.fleet.load import TOOL_CALL, Fleet, FleetRun, Vocabulary, run_fleet
from scripts.bench.fleet.ours import WorkerEndpoint, running_worker
from scripts.bench.fleet.probes import Rates, best_rates, cold_start, stall
from scripts.bench.fleet.rows import OURS, comparison_rows, our_rows, side_rows
from scripts.bench.fleet.servers import Setup, llama_server_sides, python_server_side, reached
from scripts.bench.report import Row, add_arguments, report

FLEETS = (
    Fleet("A", agents=32, shared=512, turns=3),
    Fleet("B", agents=16, shared=1500, turns=4),
    Fleet("C", agents=16, shared=1500, turns=4, schema=TOOL_CALL),
    Fleet("D", agents=64, shared=1500, turns=8, places=8),
    Fleet("E", agents=24, shared=512, turns=5, wait_s=(1.0, 6.0)),
)
HOST_MEMORY = 8 << 30
"""For parked contexts; as much as llama-server's prompt cache has by default."""

OVERCOMMIT_WANTED, STALL_WANTED, COLD_WANTED = 0.85, 2.0, 5.0


class Probes(NamedTuple):
    """Sizes of what is measured beside the fleets, in tokens and agents."""

    prefill: int = 512
    decode: int = 64
    stall_prompt: int = 8000
    stall_decoders: int = 4
    stall_out: int = 600
    cold_agents: int = 64
    cold_shared: int = 1500


def quick(fleet: Fleet) -> Fleet:
    """A fleet for a look: an eighth of the agents, two turns, a short prefix."""
    return replace(fleet, agents=fleet.agents // 8, shared=128, turns=2, places=fleet.places // 8, wait_s=(0.01, 0.05))


QUICK_PROBES = Probes(64, 16, 1500, 2, 200, 8, 128)


class Bench:
    """One run of everything; rows gather in `rows`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._model, self._threads = chosen_model(options), chosen_threads(options)
        self._fleets = [each for each in FLEETS if each.name in options.fleets]
        if options.quick:
            self._fleets = [quick(each) for each in self._fleets]
        self._probes = QUICK_PROBES if options.quick else Probes()
        self.rows: list[Row] = []

    async def run(self) -> None:
        """Our engine and all others, fleet by fleet."""
        async with running_worker(self._spec(context=512, sequences=1)) as idle:
            setup = Setup(self._model, self._threads, self._options.gpu_layers, idle.info, idle.tokenize)
            vocabulary = Vocabulary(idle.info.vocabulary, idle.info.eog_tokens)
            async with self._worker(2 * self._probes.prefill) as worker:
                rates = await best_rates(worker, vocabulary, self._probes.prefill, self._probes.decode)
            self.rows += [
                Row(f"{OURS}: prefill, at best", rates.prefill, "tokens/s"),
                Row(f"{OURS}: decoding, at best", rates.decode, "tokens/s"),
            ]
            for fleet in self._fleets:
                await self._compare(fleet, setup, vocabulary, rates)
            if not self._options.no_probes:
                await self._probe(setup, vocabulary)

    def _spec(self, *, context: int, sequences: int = 0, cells: int = 0) -> WorkerSpec:
        return WorkerSpec(
            str(self._model),
            "bench",
            context=context,
            sequences=sequences,
            cells=cells,
            threads=self._options.threads,
            gpu_layers=self._options.gpu_layers,
            host_memory=HOST_MEMORY,
            speculate=self._options.speculate,
        )

    @asynccontextmanager
    async def _worker(self, context: int, sequences: int = 0, places: int = 0) -> AsyncIterator[WorkerEndpoint]:
        """A worker whose cache has room for `places` agents, or 0 for what it has by itself."""
        async with running_worker(self._spec(context=context, sequences=sequences, cells=places * context)) as worker:
            yield worker

    def _others(self, setup: Setup, fleet: Fleet) -> Iterator[Side]:
        options = self._options
        server = options.llama_server or llama_tools.binary("llama-server")
        if server is None:
            say("llama-server: skipped, build it with `python -m scripts.bench.llama_tools`")
        else:
            yield from llama_server_sides(server, setup, fleet, options.settings)
        if options.python_server is not None:
            yield python_server_side(options.python_server, setup, fleet)
        for url in options.against:
            yield Side(url, url, reached(url, setup))

    async def _compare(self, fleet: Fleet, setup: Setup, vocabulary: Vocabulary, rates: Rates) -> None:
        async with self._worker(fleet.context, places=fleet.places) as worker:
            ours = await self._fleet(OURS, worker, fleet, vocabulary)
            stats = await worker.stats()
        self.rows += our_rows(ours, stats, rates)
        others: dict[str, dict[str, FleetRun]] = {}
        for side in self._others(setup, fleet):
            try:
                async with side.start as endpoint:
                    run = await self._fleet(side.name, endpoint, fleet, vocabulary)
            except EndpointError as error:
                say(f"{side.name}: skipped, {error}")
            else:
                others.setdefault(side.product, {})[side.name] = run
        self.rows += comparison_rows(ours, others)
        if fleet.places:
            async with self._worker(fleet.context, places=fleet.agents) as worker:
                fits = await self._fleet(f"{OURS}, cache for all", worker, fleet, vocabulary)
            share = fits.wall_s / ours.wall_s
            what = f"fleet {fleet.name}: throughput with KV for {fleet.places} of {fleet.agents}"
            ok = share >= OVERCOMMIT_WANTED
            self.rows.append(Row(what, share, "ratio", "a cache that fits", OVERCOMMIT_WANTED, ok))

    async def _fleet(self, name: str, endpoint: Endpoint, fleet: Fleet, vocabulary: Vocabulary) -> FleetRun:
        say(f"fleet {fleet.name}: {name}")
        run = await run_fleet(endpoint, fleet, vocabulary)
        for error in {call.error for call in run.calls if call.error}:
            say(f"  failed: {error}")
        rows = list(side_rows(name, run))
        for row in rows:
            say(f"  {row.what.removeprefix(f'fleet {fleet.name}, {name}: ')}: {row.value:.4g} {row.unit}")
        self.rows += rows
        return run

    async def _probe(self, setup: Setup, vocabulary: Vocabulary) -> None:
        """Stall and cold start, on our engine and on llama-server with a slot for each agent."""
        sizes = self._probes
        long = Fleet("stall", sizes.stall_decoders + 1, sizes.stall_prompt, 1, out=64)
        cold = Fleet("cold", sizes.cold_agents, sizes.cold_shared, 1, new=8, out=8)
        async with self._worker(long.context, long.agents) as worker:
            alone, stalled = await self._stall(worker, vocabulary)
        what = f"time between tokens, p99, while {sizes.stall_prompt} tokens are prefilled"
        ratio = stalled / alone
        self.rows.append(Row(what, ratio, "ratio", "without the prompt", STALL_WANTED, ratio <= STALL_WANTED))
        async with self._worker(cold.context) as worker:
            ours = await cold_start(worker, vocabulary, agents=cold.agents, shared=cold.shared)
        what = f"last first token of {cold.agents} agents on one cold prompt of {cold.shared} tokens"
        self.rows.append(Row(f"{what}, {OURS}", ours, "s"))
        server = self._options.llama_server or llama_tools.binary("llama-server")
        if server is None:
            return
        for side in llama_server_sides(server, setup, long, ("np-fa-off",)):
            async with side.start as endpoint:
                theirs = await self._stall(endpoint, vocabulary)
            self.rows.append(Row(f"the same, {side.name}", theirs[1] / theirs[0], "ratio", "without the prompt"))
        for side in llama_server_sides(server, setup, cold, ("np-fa-off",)):
            async with side.start as endpoint:
                last = await cold_start(endpoint, vocabulary, agents=cold.agents, shared=cold.shared)
            self.rows.append(Row(f"{what}, {side.name}", last, "s"))
            ok = last / ours >= COLD_WANTED
            self.rows.append(Row("last first token: sooner", last / ours, "ratio", side.name, COLD_WANTED, ok))

    async def _stall(self, endpoint: Endpoint, vocabulary: Vocabulary) -> tuple[float, float]:
        sizes = self._probes
        say("stall")
        return await stall(
            endpoint, vocabulary, prompt=sizes.stall_prompt, decoders=sizes.stall_decoders, out=sizes.stall_out
        )


def say(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Reads the command line, runs, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_engine_arguments(parser)
    parser.add_argument("--fleets", default="ABCD", help="which fleets, by letter")
    # Random weights repeat themselves far more than trained ones, which would flatter speculation.
    parser.add_argument("--speculate", choices=("off", "auto", "on"), default="off", help="of our engine")
    parser.add_argument("--llama-server", type=Path, help="the binary; it is started in several settings")
    parser.add_argument("--settings", default=(), type=lambda text: text.split(","), help="only these, by name")
    parser.add_argument(
        "--python-server",
        type=Path,
        nargs="?",
        const=llama_tools.python_server(),
        help="also the server example of llama-cpp-python's archive; needs fastapi, openai and uvicorn",
    )
    parser.add_argument("--against", action="append", default=[], metavar="URL", help="a server that runs already")
    parser.add_argument("--no-probes", action="store_true", help="only the fleets")
    add_arguments(parser)
    options = parser.parse_args()
    bench = Bench(options)
    anyio.run(bench.run)
    report("fleet", bench.rows, options)


if __name__ == "__main__":
    main()
