"""One agent that floods against fifteen that do not: who gets how much of the model while all have calls waiting.

Each agent keeps several calls in flight, the flooding one sixteen times as many. Service is generated tokens, by the
agent's weight, up to when the first of them has all of its answers; Jain's index says how evenly it is shared.
"""

from scripts.bench.measures import jain
from scripts.bench.paper.agents import Call, Script, Turn
from scripts.bench.paper.findings import Figure, Findings
from scripts.bench.paper.nodes import Kind, NodeRun, run_on_node
from scripts.bench.paper.options import Options
from scripts.bench.report import Row

PLACES = 4
JAIN_WANTED = 0.99
FAIR = "fair"
"""The policy that promises it."""


def flood(others: int, calls: int) -> list[Kind]:
    """The flooding agent, and others with weights 1, 2 and 4 in turn; heavier ones have more to do."""
    turn = Turn(8, 32)
    kinds = [Kind("flood", (Script(((turn,) * calls,) * 32),), {"weight": 1.0, "group": "flood"})]
    for number in range(others):
        weight = (1, 2, 4)[number % 3]
        lanes = ((turn,) * calls,) * (2 * weight)
        kinds.append(Kind(f"agent{number}", (Script(lanes, seed=number + 1),), {"weight": float(weight)}))
    return kinds


def shares(kinds: list[Kind], done: NodeRun) -> dict[str, float]:
    """Tokens for a unit of weight that each agent got until the first of them had all of its answers."""
    end = min(max(call.done for call in agent.calls) for agent in done.agents if agent.calls)
    served = {agent.kind: sum(served_by(end, call) for call in agent.calls) for agent in done.agents}
    return {kind.name: served[kind.name] / kind.settings["weight"] for kind in kinds}


def served_by(end: float, call: Call) -> float:
    """Tokens that a call had at a time; one in the midst of its answer has its share of them."""
    if call.done <= end:
        return call.tokens_out
    return call.tokens_out * max(end - call.first, 0.0) / (call.done - call.first)


async def run(options: Options) -> Findings:
    """See the module."""
    findings = Findings()
    kinds = flood(5, 3) if options.quick else flood(15, 12)
    bars: dict[str, list[tuple[float | str, float]]] = {}
    for policy in options.policies:
        options.say(f"fairness: {policy}")
        done = await run_on_node(options, kinds, policy=policy, places=PLACES, scheduler={"slice": 16})
        service = shares(kinds, done)
        index = jain(service.values())
        wanted = JAIN_WANTED if policy == FAIR else None
        ok = None if wanted is None else index >= wanted
        findings.rows.append(Row(f"fairness, {policy}: Jain's index of {len(kinds)} agents", index, "", "", wanted, ok))
        bars[policy] = [(name, value) for name, value in service.items()]
    title = "Tokens for a unit of weight while all are backlogged"
    findings.figures.append(Figure("fairness", title, "agent", "tokens", bars, "bars"))
    return findings
