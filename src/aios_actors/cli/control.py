"""`aios-actors ps`, `pause`, `resume`, `kill` and `policy`: a running node, looked at and steered from elsewhere."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import anyio
import msgspec
from rich.console import Console
from rich.table import Table

from aios_actors.cli.report import run_totals
from aios_actors.cli.run import CANNOT_START
from aios_actors.config.structs import NodeConfig
from aios_actors.control import Kill, NoNode, OrderRefused, Pause, Ps, Resume, SetPolicy, order
from aios_actors.control.messages import Order
from aios_actors.observe.state import AgentTotals, ModelState, NodeState

_WIDE = 200
_WORKING_FIRST = {"generating": 0, "tool": 1, "running": 2, "waiting": 3, "queued": 4, "paused": 5}


Parser = argparse.ArgumentParser
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_commands(commands: Commands) -> None:
    """Adds the commands' parsers."""
    showing = _command(commands, "ps", "show what the agents and models of a running node do", ps)
    showing.add_argument("--json", action="store_true", help="print the state as one JSON object")
    showing.add_argument("--every", type=float, metavar="SECONDS", help="again and again, until Ctrl-C")
    for name, kind, text in (
        ("pause", Pause, "let an agent stand still, with those that it made"),
        ("resume", Resume, "let a paused agent go on"),
        ("kill", Kill, "end what an agent does, with those that it made"),
    ):
        parser = _command(commands, name, text, lambda options: _order(options, options.kind(options.agent)))
        parser.add_argument("agent", metavar="AGENT", nargs="?", default="", help="its name; the whole run if left out")
        parser.set_defaults(kind=kind)
    parser = _command(
        commands,
        "policy",
        "choose who gets a model next",
        lambda options: _order(options, SetPolicy(options.model, options.policy)),
    )
    parser.add_argument("model", metavar="MODEL", help="a model that the node serves")
    parser.add_argument("policy", metavar="POLICY", help="such as fifo, fair or least_attained, or module:Class")


def _command(commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> Parser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "--data", metavar="DIR", type=Path, default=Path(NodeConfig().data), help="the node's data folder, if not .aios"
    )
    parser.set_defaults(command=run)
    return parser


def ps(options: argparse.Namespace) -> int:
    """`aios-actors ps`."""
    if options.every is None:
        return _order(options, Ps())
    while (code := _order(options, Ps())) == 0:
        time.sleep(options.every)
    return code


def _order(options: argparse.Namespace, wanted: Order) -> int:
    try:
        state = anyio.run(order, options.data, wanted)
    except (NoNode, OrderRefused) as error:
        print(error, file=sys.stderr)
        return CANNOT_START if isinstance(error, NoNode) else 1
    if state is not None and options.json:
        print(msgspec.json.encode(state).decode())
    elif state is not None:
        # Cut to a terminal's width, but whole in a pipe.
        show(state, Console() if sys.stdout.isatty() else Console(width=_WIDE))
    return 0


def show(state: NodeState, console: Console) -> None:
    """Prints the models and the agents, those first that do something."""
    console.print(_models(state.models))
    agents = sorted(state.agents, key=lambda each: (_WORKING_FIRST.get(each.state, 9), each.agent))
    console.print(_agents(agents))
    console.print(run_totals(state.run))


def _models(models: tuple[ModelState, ...]) -> Table:
    table = _table(("model", "policy"), ("places in use", "waiting", "next place in"))
    for each in models:
        wait = each.error or f"{each.estimate_s:.1f} s"
        table.add_row(each.model, each.policy, f"{each.running} of {each.places}", str(each.waiting), wait)
    return table


def _agents(agents: list[AgentTotals]) -> Table:
    table = _table(("agent", "does"), ("tasks", "calls", "tokens in", "cached", "out", "tools", "waited"))
    for each in agents:
        does = f"{each.state} {each.detail}" if each.state == "tool" else each.state
        tasks = f"{each.tasks}, {each.failed} failed" if each.failed else str(each.tasks)
        figures = (each.calls, each.tokens_in, each.tokens_cached, each.tokens_out, each.tool_calls)
        table.add_row(each.agent, does, tasks, *map(str, figures), f"{each.waiting_s:.2f} s")
    return table


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
