"""How many times as fast the same agents are through the kernel as on one sequential `Llama` (paper: up to 2.1)."""

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


async def run(options: Options) -> Findings:
    """See the module."""
    findings = Findings()
    ratios: list[tuple[float | str, float]] = []
    for count in (2, 4) if options.quick else (1, 2, 4, 8, 16, 32):
        options.say(f"throughput: {count} agents")
        kinds = agents(count)
        alone = await run_sequentially(options, kinds, overlap=True)
        kernel = await run_on_node(options, kinds)
        tokens = sum(script.out for kind in kinds for script in kind.scripts)
        ratio = alone.wall_s / kernel.wall_s
        wanted = WANTED.get(count)
        ok = None if wanted is None else ratio >= wanted
        ratios.append((count, ratio))
        findings.rows += [
            Row(f"throughput, {count} agents: one Llama", tokens / alone.wall_s, "tokens/s"),
            Row(f"throughput, {count} agents: kernel", tokens / kernel.wall_s, "tokens/s"),
            Row(f"throughput, {count} agents", ratio, "ratio", "one Llama; paper: up to 2.1", wanted, ok),
        ]
    series = {"through the kernel": ratios, "the paper's claim": [(x, CLAIM) for x, _ in ratios]}
    title = "Throughput through the kernel, one sequential Llama being 1"
    findings.figures.append(Figure("throughput", title, "agents", "times as fast", series, log="x"))
    return findings
