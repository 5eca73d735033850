"""Waiting, turnaround and time to first token under each policy, and without the kernel (the paper's second question).

Three loads. `kinds`: agents of three kinds arrive together; also one after the other, on one `Llama`. `heavy tail`:
agents whose work differs two hundredfold arrive one by one, as fast as the engine can just keep up with; beside the
policies an oracle that knows each one's length and runs the shortest first. `background`: interactive agents ask now
and then while batch agents keep the model busy.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.bench.measures import mean, percentile
from scripts.bench.paper.agents import Script, Turn
from scripts.bench.paper.findings import Figure, Findings, distribution
from scripts.bench.paper.nodes import Kind, NodeRun, run_on_node
from scripts.bench.paper.options import Options
from scripts.bench.paper.sequential import run_sequentially
from scripts.bench.report import Row

PLACES = 4
SLICE = 32
PARETO_SHAPE = 0.9
LOAD = 0.85
SEQUENTIAL, ORACLE = "one after the other", "oracle"
SHORTER_WANTED, NEAR_ORACLE_WANTED, INTERACTIVE_WANTED = 2.0, 1.2, 5.0


async def run(options: Options) -> Findings:
    """See the module."""
    findings = Findings()
    for load in (_kinds, _heavy_tail, _background):
        found = await load(options)
        findings.rows += found.rows
        findings.figures += found.figures
    return findings


async def _policies(options: Options, load: str, kinds: Sequence[Kind]) -> dict[str, NodeRun]:
    runs = {}
    for policy in options.policies:
        options.say(f"waiting, {load}: {policy}")
        runs[policy] = await run_on_node(options, kinds, policy=policy, places=PLACES, scheduler={"slice": SLICE})
    return runs


def three_kinds(count: int) -> list[Kind]:
    """`count` agents each that call often and briefly, that read much, and that write much."""
    clerk = (Turn(12, 12), *[Turn(8, 12, pause_s=0.05)] * 3)
    researcher = (Turn(200, 48), Turn(60, 48, pause_s=0.1))
    lanes = {"clerk": clerk, "researcher": researcher, "writer": (Turn(20, 256),)}
    return [Kind(name, tuple(Script((lane,), seed=seed) for seed in range(count))) for name, lane in lanes.items()]


async def _kinds(options: Options) -> Findings:
    kinds = three_kinds(2 if options.quick else 8)
    options.say(f"waiting, kinds: {SEQUENTIAL}")
    runs = {SEQUENTIAL: await run_sequentially(options, kinds, overlap=False)}
    runs |= await _policies(options, "kinds", kinds)
    rows = [row for name, done in runs.items() for row in times(f"kinds, {name}", done)]
    return Findings(rows, list(figures("kinds", runs)))


def heavy_tail(count: int, every_s: float, *, seed: int = 1) -> list[Script]:
    """Agents whose tokens are the quantiles of a Pareto law from 8 to 1,600, in shuffled order, in one to four turns.

    Args:
        count: how many agents.
        every_s: mean seconds between two arrivals (a Poisson process); 0: all arrive together.
        seed: decides the order, the turns and the arrivals.
    """
    draw, arrivals, now = random.Random(seed), random.Random(seed), 0.0
    totals = [min(int(8 * (1 - (rank + 0.5) / count) ** (-1 / PARETO_SHAPE)), 1600) for rank in range(count)]
    draw.shuffle(totals)
    scripts = []
    for number, total in enumerate(totals):
        turns = draw.randint(1, min(4, total // 8))
        lane = tuple(Turn(8, total // turns, pause_s=0.02 if index else 0.0) for index in range(turns))
        scripts.append(Script((lane,), now, number))
        now += every_s * arrivals.expovariate(1.0)
    return scripts


def ranked(scripts: Sequence[Script]) -> list[Kind]:
    """A kind for each script, the shortest with the highest priority, as an oracle would have it."""
    order = sorted(range(len(scripts)), key=lambda number: -scripts[number].out)
    rank = {number: place for place, number in enumerate(order)}
    lowest = -(len(scripts) // 2)
    return [
        Kind(f"agent{number}", (script,), {"priority": lowest + rank[number]}) for number, script in enumerate(scripts)
    ]


async def _heavy_tail(options: Options) -> Findings:
    count = 12 if options.quick else 192
    options.say("waiting, heavy tail: how fast the engine is")
    together = await run_on_node(options, [Kind("agent", tuple(heavy_tail(count, 0.0)))], places=PLACES)
    scripts = heavy_tail(count, together.wall_s / count / LOAD)
    runs = await _policies(options, "heavy tail", [Kind("agent", tuple(scripts))])
    options.say(f"waiting, heavy tail: {ORACLE}")
    # No call ever waits long enough to make up for a level: the order is that of the lengths alone.
    strict = {"ageing_s": 1e6}
    runs[ORACLE] = await run_on_node(options, ranked(scripts), policy="priority", places=PLACES, scheduler=strict)
    rows = [row for name, done in runs.items() for row in times(f"heavy tail, {name}", done)]
    means = {name: mean(agent.turnaround_s for agent in done.agents) for name, done in runs.items()}
    if "least_attained" in means:
        what = "heavy tail, mean turnaround"
        if "fifo" in means:
            ratio = means["fifo"] / means["least_attained"]
            ok = ratio >= SHORTER_WANTED
            rows.append(Row(f"{what}: fifo", ratio, "ratio", "least_attained", SHORTER_WANTED, ok))
        ratio = means["least_attained"] / means[ORACLE]
        ok = ratio <= NEAR_ORACLE_WANTED
        rows.append(Row(f"{what}: least_attained", ratio, "ratio", "the oracle", NEAR_ORACLE_WANTED, ok))
    return Findings(rows, list(figures("heavy tail", runs)))


def background(batch: int, interactive: int, questions: int) -> list[Kind]:
    """Agents that write all the time, and others that ask briefly, now and then, and are more urgent."""
    writer = (Turn(20, 384), Turn(20, 384))
    asker = tuple(Turn(8, 12, pause_s=0.2) for _ in range(questions))
    return [
        Kind("batch", tuple(Script((writer,), seed=seed) for seed in range(batch)), {"group": "batch"}),
        Kind("interactive", tuple(Script((asker,), seed=seed) for seed in range(interactive)), {"priority": 10}),
    ]


async def _background(options: Options) -> Findings:
    kinds = background(4, 2, 3) if options.quick else background(16, 6, 12)
    runs = await _policies(options, "background", kinds)
    rows = []
    waits = {name: [call.waited_s for call in done.calls("interactive")] for name, done in runs.items()}
    for name, done in runs.items():
        rows += [
            Row(f"background, {name}: interactive, waiting p99", percentile(waits[name], 0.99), "s"),
            Row(f"background, {name}: batch, all answered", done.wall_s, "s"),
            Row(f"background, {name}: failed", done.failed, "agents", "", 0.0, done.failed == 0),
        ]
    for name in ("fair", "priority"):
        if name in waits and "fifo" in waits:
            ratio = percentile(waits["fifo"], 0.99) / max(percentile(waits[name], 0.99), 1e-9)
            ok = ratio >= INTERACTIVE_WANTED
            what = "background, p99 waiting of interactive calls: fifo"
            rows.append(Row(what, ratio, "ratio", name, INTERACTIVE_WANTED, ok))
    title = "Waiting of interactive calls beside batch agents"
    series = {name: distribution(values) for name, values in waits.items()}
    return Findings(rows, [Figure("waiting-background", title, "seconds", "share of calls", series, "steps", "x")])


def times(what: str, done: NodeRun) -> Iterator[Row]:
    """Mean, p90 and p99 of waiting, turnaround and time to first token."""
    calls = done.calls()
    samples: Mapping[str, list[float]] = {
        "waiting of a call": [call.waited_s for call in calls],
        "first token of a call": [call.first - call.sent for call in calls],
        "turnaround of an agent": [agent.turnaround_s for agent in done.agents if not agent.error],
    }
    yield Row(f"{what}: failed", done.failed, "agents", "", 0.0, done.failed == 0)
    for name, values in samples.items():
        yield Row(f"{what}: {name}, mean", mean(values), "s")
        yield Row(f"{what}: {name}, p90", percentile(values, 0.9), "s")
        yield Row(f"{what}: {name}, p99", percentile(values, 0.99), "s")


def figures(load: str, runs: Mapping[str, NodeRun]) -> Iterator[Figure]:
    """Distribution of turnarounds, and means side by side."""
    name = load.replace(" ", "-")
    turnarounds = {policy: [agent.turnaround_s for agent in done.agents] for policy, done in runs.items()}
    series: dict[str, Any] = {policy: distribution(values) for policy, values in turnarounds.items()}
    yield Figure(f"waiting-{name}", f"Turnaround of agents: {load}", "seconds", "share of agents", series, "steps", "x")
    bars: dict[str, list[tuple[float | str, float]]] = {
        "turnaround of agents": [(policy, mean(values)) for policy, values in turnarounds.items()],
        "waiting of calls": [(policy, mean(c.waited_s for c in done.calls())) for policy, done in runs.items()],
    }
    yield Figure(f"waiting-{name}-means", f"Means: {load}", "policy", "seconds", bars, "bars")
