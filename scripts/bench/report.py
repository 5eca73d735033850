"""How every benchmark prints what it measured: a table, or with `--json` one object on the last line.

A row compares in one run, as a ratio where there is something to compare with; `against` says with what. Timings are
noisy, so nothing here belongs into a test.
"""

import argparse
import json
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


class Row(msgspec.Struct, frozen=True):
    """One measured figure.

    Attributes:
        what: what was measured.
        value: the figure.
        unit: its unit; "ratio" for a comparison.
        against: what it is compared with; "" for nothing.
        wanted: the figure that it is held to; None for none.
        ok: whether it holds; None if nothing is wanted.
    """

    what: str
    value: float
    unit: str
    against: str = ""
    wanted: float | None = None
    ok: bool | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks have."""
    parser.add_argument("--quick", action="store_true", help="a smaller run, under a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def report(bench: str, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Prints the rows as `options` say."""
    if options.json:
        print(json.dumps({"bench": bench, "rows": [msgspec.structs.asdict(row) for row in rows]}))
        return
    table = Table(title=bench)
    for name in ("what", "value", "unit", "against", "wanted", "ok"):
        table.add_column(name, justify="right" if name in ("value", "wanted") else "left")
    for row in rows:
        wanted = "" if row.wanted is None else f"{row.wanted:,.4g}"
        verdict = {None: "", True: "yes", False: "no"}[row.ok]
        table.add_row(row.what, f"{row.value:,.4g}", row.unit, row.against, wanted, verdict)
    Console().print(table)
