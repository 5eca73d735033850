"""What each scheduling policy is good for, in the simulator, and what its choice costs among 10,000 waiting calls.

The simulated figures depend on nothing but this code; the choice's times are the machine's. Least attained service is
held to twice fifo's mean turnaround on a heavy-tailed mix that the engine keeps up with, and to 1.2 times that of an
oracle which knows all lengths. Beyond the engine's capacity no order helps as much: `--every` sets the load.

    python -m scripts.bench.policies [--quick] [--json] [--markdown] [--every SECONDS]
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterator

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.line import Line, Turn
from aios_actors.kernel.scheduler.policies import POLICIES, Policy, Program, Ticket
from aios_actors.kernel.scheduler.simulator import (
    Oracle,
    flood,
    heavy_tailed,
    interactive_and_batch,
    jain,
    simulate,
)
from scripts.bench.report import Row, add_arguments, report

WAITING = 10_000
CHOICE_S = 1e-3
HALVED, NEAR, SOONER, EVEN = 2.0, 1.2, 5.0, 0.99


def turnarounds(every_s: float, seeds: range) -> Iterator[Row]:
    """Mean turnaround on the heavy-tailed mix: each policy against fifo, least attained against the oracle."""
    traces = [heavy_tailed(seed, every_s=every_s) for seed in seeds]
    policies: dict[str, type[Policy]] = {**POLICIES, "oracle": Oracle}
    means = {
        name: statistics.fmean(simulate(trace, policy).turnaround.mean for trace in traces)
        for name, policy in policies.items()
    }
    for name, mean in means.items():
        wanted = HALVED if name == "least_attained" else None
        ratio = means["fifo"] / mean
        ok = None if wanted is None else ratio >= wanted
        yield Row(f"heavy tail, {name}: turnaround {mean:.2f} s", ratio, "ratio", "fifo's", wanted, ok)
    ratio = means["least_attained"] / means["oracle"]
    yield Row("heavy tail, least_attained", ratio, "ratio", "the oracle's turnaround", NEAR, ratio <= NEAR)


def interactive() -> Iterator[Row]:
    """p99 waiting of a user beside batch agents, against fifo."""
    trace = interactive_and_batch(seed=1)
    waits = {name: simulate(trace, policy).waiting("user").p99 for name, policy in POLICIES.items()}
    for name, wait in waits.items():
        wanted = SOONER if name in ("fair", "priority") else None
        ratio = waits["fifo"] / wait
        ok = None if wanted is None else ratio >= wanted
        yield Row(f"user beside batch, {name}: p99 wait {wait:.2f} s", ratio, "ratio", "fifo's", wanted, ok)


def fairness() -> Iterator[Row]:
    """Jain's index of the service of one agent that floods and 15 that do not, while all have calls waiting."""
    trace = flood(seed=1)
    for name, policy in POLICIES.items():
        index = jain(simulate(trace, policy).shares.values())
        wanted = EVEN if name == "fair" else None
        yield Row(f"flood, {name}", index, "Jain's index", "", wanted, None if wanted is None else index >= wanted)


def choice(policy: Policy, turns: int, programs: int) -> float:
    """Seconds of a turn's whole bookkeeping, at the median: a choice, the end of the turn, and a call that comes."""
    tasks = [Program() for _ in range(programs)]
    draw = random.Random(1)

    def ticket(number: int) -> Ticket:
        group = f"agent-{draw.randrange(500)}"
        program, prompt, priority = draw.choice(tasks), draw.randrange(2000), draw.randrange(10)
        return Ticket(number, group, number * 1e-3, prompt, program, group, priority=priority)

    line = Line(policy.config, policy, places=1)
    for number in range(WAITING):
        policy.add(ticket(number))
    times = []
    for number in range(turns):
        coming = ticket(WAITING + number)
        began = time.perf_counter()
        chosen = line.take(float(number))
        assert chosen is not None
        line.end(chosen, float(number), Turn(100, 0, 64))
        policy.add(coming)
        line.urge()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def choices(turns: int) -> Iterator[Row]:
    """The choice's cost under each policy."""
    for name, policy in POLICIES.items():
        for programs in (1, WAITING):
            seconds = choice(policy(SchedulerConfig()), turns, programs)
            what = f"choice among {WAITING:,} waiting of {programs:,} tasks, {name}"
            yield Row(what, seconds * 1e6, "us", "", CHOICE_S * 1e6, seconds < CHOICE_S)


def main() -> None:
    """Reads the command line, measures, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--every", type=float, default=0.21, help="mean seconds between tasks of the heavy-tailed mix")
    options = parser.parse_args()
    seeds = range(1, 3) if options.quick else range(1, 11)
    rows = [*turnarounds(options.every, seeds), *interactive(), *fairness(), *choices(500 if options.quick else 5000)]
    report("policies", rows, options)


if __name__ == "__main__":
    main()
