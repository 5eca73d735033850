"""How many times as fast the same agents are through the kernel as on one sequential `Llama` (paper: up to 2.1).

The kernel has one worker, and then, if the model is so small that one thread is fastest, a worker for each CPU.
"""

from aios_actors.engine.machine import usable_cpus
from scripts.bench.paper.agents import Script, Turn
from scripts.bench.paper.findings import Figure, Findings
from scripts.bench.paper.nodes import Kind, run_on_node
from scripts.bench.paper.options import Options
from scripts.bench.paper.sequential import run_sequentially
from scripts.bench.report import Row

WANTED = {16: 4.0}
CLAIM = 2.1


def agents(count: int) -> list[Kind]:
    """Agents with three turns and a tool between two of them."""
    lane = (Turn(24, 48), Turn(16, 48, pause_s=0.1), Turn(16, 48, pause_s=0.1))
    return [Kind("worker", tuple(Script((lane,), seed=seed) for seed in range(count)))]


def named(workers: int) -> str:
    """What a series with so many workers is called."""
    return f"{workers} workers" if workers > 1 else "1 worker"


async def run(options: Options) -> Findings:
    """See the module."""
    findings = Findings()
    found: dict[int, list[tuple[float | str, float]]] = {1: []}
    if options.threads == 1:
        found[usable_cpus()] = []
    for count in (2, 4) if options.quick else (1, 2, 4, 8, 16, 32):
        options.say(f"throughput: {count} agents")
        kinds = agents(count)
        alone = await run_sequentially(options, kinds, overlap=True)
        tokens = sum(script.out for kind in kinds for script in kind.scripts)
        findings.rows.append(Row(f"throughput, {count} agents: one Llama", tokens / alone.wall_s, "tokens/s"))
        for workers, ratios in found.items():
            what = f"throughput, {count} agents, {named(workers)}"
            kernel = await run_on_node(options, kinds, workers=workers)
            ratio = alone.wall_s / kernel.wall_s
            ratios.append((count, ratio))
            wanted = WANTED.get(count)
            ok = None if wanted is None else ratio >= wanted
            findings.rows += [
                Row(what, tokens / kernel.wall_s, "tokens/s"),
                Row(what, ratio, "ratio", "one Llama; paper: up to 2.1", wanted, ok),
            ]
    series = {named(workers): ratios for workers, ratios in found.items()}
    series["the paper's claim"] = [(x, CLAIM) for x, _ in found[1]]
    title = "Throughput through the kernel, one sequential Llama being 1"
    findings.figures.append(Figure("throughput", title, "agents", "times as fast", series, log="x"))
    return findings
