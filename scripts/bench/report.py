"""How every benchmark prints what it measured: a table, with `--markdown` one to paste, with `--json` one object.

A row compares in one run, as a ratio where there is something to compare with; `against` says with what. Timings are
noisy, so nothing here belongs into a test.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

COLUMNS = ("what", "value", "unit", "against", "wanted", "ok")
WIDTH = 160


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
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")


def report(bench: str, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Prints the rows as `options` say."""
    if options.json:
        # What could not be measured is nan, which JSON lacks; msgspec writes null.
        print(msgspec.json.encode({"bench": bench, "rows": rows}).decode())
        return
    cells = [_cells(row) for row in rows]
    if options.markdown:
        print("\n".join(markdown(COLUMNS, cells)))
        return
    table = Table(title=bench)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("value", "wanted") else "left")
    for each in cells:
        table.add_row(*each)
    console = Console()
    # Without a terminal rich assumes 80 columns, which would break most lines of a log.
    console.width = console.width if console.is_terminal else WIDTH
    console.print(table)


def markdown(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for each in cells:
        yield f"| {' | '.join(each)} |"


def _cells(row: Row) -> tuple[str, ...]:
    wanted = "" if row.wanted is None else f"{row.wanted:,.4g}"
    verdict = {None: "", True: "yes", False: "no"}[row.ok]
    return row.what, f"{row.value:,.4g}", row.unit, row.against, wanted, verdict
