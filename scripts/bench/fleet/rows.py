"""From calls to rows: what a fleet took on one side, and how sides compare."""

from collections.abc import Iterator, Mapping

from aios_actors.engine.protocol import EngineStats
from scripts.bench.fleet.load import FleetRun
from scripts.bench.fleet.probes import Rates
from scripts.bench.measures import mean, percentile
from scripts.bench.report import Row

OURS = "aios_actors"

BEST_WANTED = {"A": 2.3, "B": 4.0, "C": 5.0, "D": 3.0}
"""How many times as fast as llama-server at its best setting that fails no request."""

DEFAULTS = "default-fa-on"
"""llama-server as it comes: flash attention is on where it can be."""

DEFAULTS_WANTED = {"A": 3.0}
LIMIT_WANTED = 0.75
LONG_WAIT_S = 1.0
"""Agents that wait so long for their tools leave the engine idle at times: how long all took says little of it."""
PREFILL_WANTED = 1.05
FEWER_STEPS_WANTED = 1.5


def failed(run: FleetRun) -> int:
    """Completions that did not come, those included that failed agents never asked for."""
    return run.fleet.agents * run.fleet.turns - sum(call.answer is not None for call in run.calls)


def side_rows(name: str, run: FleetRun) -> Iterator[Row]:
    """What a fleet took on one side."""
    what = f"fleet {run.fleet.name}, {name}"
    done = [(call, call.answer) for call in run.calls if call.answer is not None]
    tokens = sum(len(answer.tokens) for _, answer in done)
    prompts = sum(call.prompt for call, _ in done)
    cached = sum(answer.cached for _, answer in done)
    turnaround = _turnarounds(run)
    first = [answer.stamps[0] - call.sent for call, answer in done if answer.stamps]
    yield Row(f"{what}: all turns of {run.fleet.agents} agents", run.wall_s, "s")
    yield Row(f"{what}: failed", float(failed(run)), "requests")
    yield Row(f"{what}: generated", tokens / run.wall_s, "tokens/s")
    yield Row(f"{what}: answered", len(done) / run.wall_s, "requests/s")
    yield Row(f"{what}: turnaround, mean", mean(turnaround), "s")
    yield Row(f"{what}: turnaround, p99", percentile(turnaround, 0.99), "s")
    yield Row(f"{what}: first token, p50", percentile(first, 0.5), "s")
    yield Row(f"{what}: first token, p99", percentile(first, 0.99), "s")
    yield Row(f"{what}: prompt tokens from cache", cached / max(prompts, 1), "share")
    yield Row(f"{what}: prompt tokens computed", (prompts - cached) / run.fleet.needed, "ratio", "those needed")
    if run.resident:
        yield Row(f"{what}: memory of its process", run.resident / 2**20, "MiB")


def our_rows(run: FleetRun, stats: EngineStats, rates: Rates) -> Iterator[Row]:
    """What our engine is held to by itself, and how far it had to page."""
    name = run.fleet.name
    answers = [call.answer for call in run.calls if call.answer is not None]
    prompts = sum(call.prompt for call in run.calls if call.answer is not None)
    computed = (prompts - sum(answer.cached for answer in answers)) / run.fleet.needed
    yield Row(f"fleet {name}: failed requests", failed(run), "requests", "", 0.0, failed(run) == 0)
    ok = computed <= PREFILL_WANTED
    yield Row(f"fleet {name}: prompt tokens computed", computed, "ratio", "those needed", PREFILL_WANTED, ok)
    yield Row(f"fleet {name}: pages out", stats.pages_out, "pages")
    yield Row(f"fleet {name}: pages in", stats.pages_in, "pages")
    tokens = sum(len(answer.tokens) for answer in answers)
    if run.fleet.schema is not None:
        steps = tokens / max(tokens - sum(answer.forced for answer in answers), 1)
        ok = steps >= FEWER_STEPS_WANTED
        yield Row(f"fleet {name}: fewer decode steps", steps, "ratio", "a step a token", FEWER_STEPS_WANTED, ok)
    elif not run.fleet.places and run.fleet.wait_s[1] < LONG_WAIT_S:
        share = rates.seconds(run.fleet.needed, tokens) / run.wall_s
        ok = share >= LIMIT_WANTED
        yield Row(f"fleet {name}: share of the limit", share, "ratio", "all at its best rates", LIMIT_WANTED, ok)


def comparison_rows(ours: FleetRun, others: Mapping[str, Mapping[str, FleetRun]]) -> Iterator[Row]:
    """How many times as fast we are: as each product at its best setting, and as llama-server's defaults.

    Args:
        ours: our run.
        others: by product and side, the same fleet on the others.
    """
    name = ours.fleet.name
    for product, runs in others.items():
        whole = {side: run for side, run in runs.items() if not failed(run)}
        if not whole:
            yield Row(f"fleet {name}: sides that failed no request", 0.0, "settings", product)
            continue
        best = min(whole, key=lambda side: whole[side].wall_s)
        wanted = BEST_WANTED.get(name) if product == "llama-server" else None
        yield _times(name, whole[best].wall_s / ours.wall_s, f"{best}, its best", wanted)
        soonest = min(whole, key=lambda side: mean(_turnarounds(whole[side])))
        ratio = mean(_turnarounds(whole[soonest])) / mean(_turnarounds(ours))
        yield Row(f"fleet {name}: {OURS} answers sooner", ratio, "ratio", f"{soonest}, its best mean turnaround")
        for side in whole:
            if side.endswith(DEFAULTS):
                yield _times(name, whole[side].wall_s / ours.wall_s, side, DEFAULTS_WANTED.get(name))


def _turnarounds(run: FleetRun) -> list[float]:
    return [call.done - call.sent for call in run.calls if call.answer is not None]


def _times(fleet: str, ratio: float, against: str, wanted: float | None) -> Row:
    ok = None if wanted is None else ratio >= wanted
    return Row(f"fleet {fleet}: {OURS} is faster", ratio, "ratio", against, wanted, ok)
