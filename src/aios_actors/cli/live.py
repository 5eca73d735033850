"""The live display of a run in a terminal: who does what at this moment, and the results at the end.

Contract: `LiveReport` keeps the latest event of each task and draws those at work as a table, those that wait for the
LLM last, as many as the terminal has lines for; a line above it sums up all. It redraws by rich's own timer, so events
cost nothing but a dictionary entry. Log lines and notes appear above the table.
"""

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aios_actors.cli.report import count, figures, summarize, totals
from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.observe.state import NodeState

REDRAWS_PER_SECOND = 8
_AROUND_TABLE = 5
_STYLES = {
    "running": "cyan", "waiting": "yellow", "generating": "green", "tool": "magenta", "done": "dim", "failed": "red",
    "queued": "dim",
}  # fmt: skip


class Row(msgspec.Struct):
    """A task on the display: its latest event and when it began (a monotonic time)."""

    event: TaskEvent
    begun: float


class LiveReport:
    """A table that moves.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._rows: dict[int, Row] = {}
        self._tasks = 0
        self._begun = time.monotonic()
        self._live = Live(
            console=self._console, get_renderable=self.render, refresh_per_second=REDRAWS_PER_SECOND, transient=True
        )

    def begin(self, tasks: int) -> None:
        self._tasks = tasks
        self._begun = time.monotonic()
        self._live.start()

    def event(self, event: TaskEvent) -> None:
        row = self._rows.get(event.task)
        if row is None or row.event.state == "queued":
            self._rows[event.task] = Row(event, time.monotonic())
        else:
            row.event = event

    def result(self, result: TaskResult) -> None:
        """Shows nothing: the results come at the end."""

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="yellow"))

    def end(self, results: Sequence[TaskResult], state: NodeState) -> None:
        seconds = time.monotonic() - self._begun
        self.close()
        for result in results:
            self._console.print(f"[bold]{escape(result.agent)}[/bold]  {escape(result.task)}")
            outcome = Text(result.answer or "") if result.error == "" else Text(f"failed: {result.error}", style="red")
            self._console.print(Padding(outcome, (0, 4)))
            self._console.print(Padding(Text(figures(result), style="dim"), (0, 0, 1, 4)))
        self._console.print(Text(totals(state), style="dim"))
        self._console.print(Text(summarize(results, seconds), style="bold"))

    def close(self) -> None:
        self._live.stop()

    def render(self) -> Group:
        """The display at this moment."""
        now = time.monotonic()
        # The display's own thread draws while the node's adds rows: a copy has one state of them.
        rows = list(self._rows.values())
        active = sorted((row for row in rows if row.event.state not in ("queued", "done", "failed")), key=_place)
        room = max(self._console.height - _AROUND_TABLE, 1)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("agent", "state", "detail"):
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        for heading in ("tokens", "tool calls", "elapsed"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in active[:room]:
            event = row.event
            state = Text(event.state, style=_STYLES[event.state])
            table.add_row(
                Text(event.agent), state, Text(event.detail), str(event.tokens_out), str(event.tool_calls),
                f"{now - row.begun:.1f} s",
            )  # fmt: skip
        hidden = len(active) - room
        parts: list[Text | Table] = [self._summary(rows, now), table]
        if hidden > 0:
            parts.append(Text(f"and {hidden} more", style="dim"))
        return Group(*parts)

    def _summary(self, rows: list[Row], now: float) -> Text:
        states = Counter(row.event.state for row in rows)
        ended = states["done"] + states["failed"]
        active = states["running"] + states["generating"] + states["tool"]
        waiting = states["waiting"]
        tokens = sum(row.event.tokens_out for row in rows)
        seconds = max(now - self._begun, 1e-9)
        failed = f" ({states['failed']} failed)" if states["failed"] else ""
        return Text(
            f"{ended} of {count(self._tasks, 'task')} ended{failed}, {active} at work, {waiting} waiting for the LLM, "
            f"{self._tasks - ended - active - waiting} queued; "
            f"{tokens} tokens, {tokens / seconds:.0f} tokens/s; {seconds:.1f} s",
            style="bold",
        )


def _place(row: Row) -> tuple[bool, float]:
    """Where a task stands in the table: waiting ones last, then by age."""
    return row.event.state == "waiting", row.begun
