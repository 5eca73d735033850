"""Any policy on any trace, without a model: what would waiting, turnaround and shares be?

    trace = heavy_tailed(seed=1)
    report = simulate(trace, find_policy("least_attained"), places=8)
    print(report.turnaround.mean, simulate(trace, Oracle, places=8).turnaround.mean)

Policies are the very classes that a node runs, behind the very same line. A trace is generated, or read from a file
with a JSON object for each program, and the engine is a cost model: a line, like the one that a worker fits.
"""

from aios_actors.kernel.scheduler.simulator.engine import EngineCost
from aios_actors.kernel.scheduler.simulator.oracle import Oracle
from aios_actors.kernel.scheduler.simulator.report import Report, Summary, jain
from aios_actors.kernel.scheduler.simulator.simulation import simulate
from aios_actors.kernel.scheduler.simulator.trace import (
    CallTrace,
    ProgramTrace,
    flood,
    heavy_tailed,
    interactive_and_batch,
    read_trace,
    write_trace,
)

__all__ = [
    "CallTrace",
    "EngineCost",
    "Oracle",
    "ProgramTrace",
    "Report",
    "Summary",
    "flood",
    "heavy_tailed",
    "interactive_and_batch",
    "jain",
    "read_trace",
    "simulate",
    "write_trace",
]
