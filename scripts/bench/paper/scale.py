"""Hundreds to ten thousand agents at once, each with one short LLM call (paper: near-linear from 250 to 2,000)."""

from collections.abc import Iterator

from scripts.bench.measures import r_squared
from scripts.bench.paper.agents import Script, Turn
from scripts.bench.paper.findings import Figure, Findings
from scripts.bench.paper.nodes import Kind, NodeRun, run_on_node
from scripts.bench.paper.options import Options
from scripts.bench.report import Row

LINEAR_WANTED, AGENT_BYTES_WANTED, LAG_WANTED_MS = 0.99, 20_000.0, 50.0


def agents(count: int) -> list[Kind]:
    """As many agents as there are to be, each with a question of its own."""
    return [Kind("worker", tuple(Script(((Turn(8, 8),),), seed=seed) for seed in range(count)))]


async def run(options: Options) -> Findings:
    """See the module."""
    findings = Findings()
    counts = (25, 50, 100) if options.quick else (250, 500, 1000, 2000, 10_000)
    times: list[tuple[float | str, float]] = []
    await run_on_node(options, agents(8))  # what the first node loads is not an agent's memory
    for count in counts:
        options.say(f"scale: {count} agents")
        done = await run_on_node(options, agents(count))
        times.append((count, done.wall_s))
        findings.rows += rows(count, done)
    linear = r_squared([float(count) for count in counts], [seconds for _, seconds in times])
    findings.rows.append(
        Row("scale: time grows linearly, R²", linear, "", "a line", LINEAR_WANTED, linear >= LINEAR_WANTED)
    )
    title = f"Time for all agents, each with one call (R² = {linear:.4f})"
    findings.figures.append(Figure("scale", title, "agents at once", "seconds", {"aios_actors": times}))
    return findings


def rows(count: int, done: NodeRun) -> Iterator[Row]:
    """What a run with so many agents is held to."""
    what = f"scale, {count} agents"
    yield Row(f"{what}: all calls answered", done.wall_s, "s")
    yield Row(f"{what}: failed", done.failed, "agents", "", 0.0, done.failed == 0)
    each = done.resident / count
    yield Row(f"{what}: memory of one", each, "bytes", "", AGENT_BYTES_WANTED, each < AGENT_BYTES_WANTED)
    lag = done.lag_s * 1e3
    yield Row(f"{what}: event loop late by at most", lag, "ms", "", LAG_WANTED_MS, lag <= LAG_WANTED_MS)
