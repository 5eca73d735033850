"""Runs the experiments, prints the table, writes figures and their data.

python -m scripts.bench.paper [--quick] [--json | --markdown] [--only NAME,...] [--policies NAME,...] [--out FOLDER]
"""

import argparse
import sys
from pathlib import Path

import anyio

from aios_actors.engine.spec import WorkerSpec
from aios_actors.kernel.scheduler.policies import POLICIES
from aios_actors.observe.logs import configure_logs
from scripts.bench.choice import embedded_model
from scripts.bench.fleet.ours import running_worker
from scripts.bench.paper import consistency, fairness, scale, throughput, waiting
from scripts.bench.paper.options import Options
from scripts.bench.report import Row, add_arguments, report

EXPERIMENTS = {
    "consistency": consistency.run,
    "waiting": waiting.run,
    "fairness": fairness.run,
    "throughput": throughput.run,
    "scale": scale.run,
}


def main() -> None:
    """Reads the command line, runs, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF with a chat template; the embedded one if none is given")
    parser.add_argument("--threads", type=int, default=0, help="of both sides; 0: as our engine chooses")
    parser.add_argument("--only", type=names, default=tuple(EXPERIMENTS), help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--policies", type=names, default=(), help="scheduling policies; all if none is given")
    parser.add_argument("--out", type=Path, default=Path("build/paper"), help="folder of figures and data")
    add_arguments(parser)
    options = parser.parse_args()
    configure_logs("error")
    model = options.model or embedded_model()
    threads = options.threads or anyio.run(engine_threads, model)
    settings = Options(model, threads, options.quick, options.policies or tuple(POLICIES), say)
    rows = list[Row]()
    for name in options.only:
        findings = anyio.run(EXPERIMENTS[name], settings)
        rows += findings.rows
        for path in findings.write(options.out):
            say(str(path))
    report("paper", rows, options)


async def engine_threads(model: Path) -> int:
    """How many threads our engine chooses for a model."""
    async with running_worker(WorkerSpec(str(model), sequences=1, context=256)) as worker:
        return worker.info.threads


def names(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(filter(None, text.split(",")))


def say(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
