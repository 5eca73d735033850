"""The arguments and exit codes of `aios-actors`.

Contract: 0 all tasks answered; 1 some task failed; 2 the node could not start, for a mistake in the command, the config
or a model; 128 + n ended by signal n, after the drain. A user's mistake is told in plain lines on standard error, never
by a traceback.
"""

import argparse
import functools
import importlib.util
import os
import re
import sys
from importlib import metadata
from pathlib import Path

import anyio

from aios_actors.cli import control
from aios_actors.cli.live import LiveReport
from aios_actors.cli.report import JsonReport, PlainReport, Report, count
from aios_actors.cli.run import CANNOT_START, PIPE_CLOSED, Run
from aios_actors.config import Config, ConfigError, Mistake, load_config
from aios_actors.config.mistakes import join
from aios_actors.config.model_files import memory_problems
from aios_actors.config.schema import schema_text
from aios_actors.models import ModelError, resolve_adapters, resolve_models
from aios_actors.observe.logs import configure_logs


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CANNOT_START
    except ModelError as error:
        print(f"{options.config}: {error}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        code = PIPE_CLOSED
    if code == PIPE_CLOSED:
        # The interpreter flushes stdout at its end, which would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def run(options: argparse.Namespace) -> int:
    """`aios-actors run`."""
    config = load_config(options.config, options.overrides)
    if not config.tasks and not options.serve:
        nothing = "there are none; add [[tasks]] with agent and input, or use --serve"
        raise ConfigError([Mistake(options.config, "tasks", nothing)])
    configure_logs(config.node.log_level, config.node.log_format)
    folder = Path(options.config).resolve().parent
    models = resolve_models(config, folder, lambda text: print(text, file=sys.stderr, flush=True))
    # Models of the Hub could not be looked at when the config was checked.
    if problems := [*memory_problems(config.models, config.workers, models)]:
        raise ConfigError(
            Mistake(options.config, join(join("models", name), "context"), what) for name, what in problems
        )
    data = Path(options.data or config.node.data)
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder {data} cannot be made ({error.strerror}); name another one, or use --data"
        raise ConfigError([Mistake(options.config, "node.data", problem)]) from error
    name = _run_name(options, data)
    # Imported late: `check` and `schema` need no kernel.
    from aios_actors.node import Node

    make_node = functools.partial(Node, adapters=resolve_adapters(config, folder), run=name)
    job = Run(config, models, data, _report(options), serve=options.serve, make_node=make_node)
    return anyio.run(job, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})


def _run_name(options: argparse.Namespace, data: Path) -> str:
    """The run whose journal is kept; "" for none. Raises ConfigError for one that cannot be begun or gone on with."""
    name: str = options.run or options.resume or ""
    runs = sorted(file.stem for file in (data / "runs").glob("*.db"))
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ConfigError([Mistake(options.config, "--run", f"{name!r} should have letters, digits, _ . - only")])
    if options.run and name in runs:
        problem = f"there is a run {name!r} already; go on with it by --resume {name}, or take another name"
        raise ConfigError([Mistake(options.config, "--run", problem)])
    if options.resume and name not in runs:
        problem = f"there is no run {name!r} in {data}; there are: {', '.join(runs) or 'none'}"
        raise ConfigError([Mistake(options.config, "--resume", problem)])
    return name


def check(options: argparse.Namespace) -> int:
    """`aios-actors check`."""
    print(f"{options.config}: {_contents(load_config(options.config, options.overrides))}")
    return 0


def schema(options: argparse.Namespace) -> int:
    """`aios-actors schema`."""
    sys.stdout.write(schema_text())
    return 0


def _contents(config: Config) -> str:
    agents = sum(agent.count for agent in config.agents.values())
    tasks = sum(task.repeat for task in config.tasks)
    models = ", ".join(dict.fromkeys(worker.model for worker in config.workers)) or "no model"
    return f"good: {count(agents, 'agent')} on {models}, {count(tasks, 'task')}"


def _report(options: argparse.Namespace) -> Report:
    if options.json:
        return JsonReport(sys.stdout, sys.stderr)
    return LiveReport() if sys.stdout.isatty() else PlainReport(sys.stdout, sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aios-actors", description="An operating system for LLM agents.")
    parser.add_argument("--version", action="version", version=f"aios-actors {metadata.version('aios-actors')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    running = commands.add_parser("run", help="run a config's agents and tasks")
    running.add_argument("--json", action="store_true", help="print one JSON object a result, and nothing else")
    running.add_argument("--serve", action="store_true", help="stay up after the tasks until SIGTERM")
    running.add_argument("--data", metavar="DIR", help="folder of what outlives the node, instead of node.data")
    journal = running.add_mutually_exclusive_group()
    journal.add_argument("--run", metavar="NAME", help="keep a journal, so that --resume can go on with this run")
    journal.add_argument("--resume", metavar="NAME", help="go on with a run that was stopped or killed")
    running.set_defaults(command=run)
    checking = commands.add_parser("check", help="tell all mistakes of a config and run nothing")
    checking.set_defaults(command=check)
    for command in (running, checking):
        command.add_argument("config", metavar="CONFIG", help="a TOML file, such as configs/quickstart.toml")
        command.add_argument(
            "--set", action="append", default=[], dest="overrides", metavar="PATH=VALUE",
            help="override a value of the config, such as agents.writer.model=qwen; may be given several times",
        )  # fmt: skip
    control.add_commands(commands)
    printing = commands.add_parser("schema", help="print the JSON Schema of config files")
    printing.set_defaults(command=schema)
    return parser
