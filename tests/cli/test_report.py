"""What a run prints: plain lines, JSON objects, the live table."""

import io
import json

import msgspec
from rich.console import Console

from aios_actors.cli.live import LiveReport
from aios_actors.cli.report import JsonReport, PlainReport, describe, summarize
from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.observe.state import AgentTotals, ModelState, NodeState, PolicyTotals, RunTotals

ANSWERED = TaskResult("assistant", "What is 2 plus 2?", "2 plus 2 is 4.", "", 1.5, 0.25, 100, 20, 60, 1)
STATE = NodeState(
    agents=(
        AgentTotals("assistant", 1, 0, 1, 30, 0, 7, 0.0, 0, 1),
        AgentTotals("clerk", 2, 1, 3, 90, 40, 12, 0.75, 1, 0),
    ),
    models=(ModelState("nano", "fair", 0, 0, 8, 0.0, (PolicyTotals("fair", 4, 1.0, 9.0, 1),)),),
    run=RunTotals(tokens=139, tool_calls=1),
)
FAILED = TaskResult("clerk", "Write.", None, "no tool fits", 2.5, 0.0, 50, 10, 0, 0)


def test_plain_tells_changes_and_not_every_token() -> None:
    out = io.StringIO()
    report = PlainReport(out, io.StringIO())
    report.begin(2)
    for event in (
        TaskEvent(0, "assistant", "queued"),
        TaskEvent(0, "assistant", "running"),
        TaskEvent(0, "assistant", "waiting"),
        TaskEvent(0, "assistant", "generating", tokens_out=1),
        TaskEvent(0, "assistant", "generating", tokens_out=2),
        TaskEvent(0, "assistant", "tool", "calculator", 2, 1),
        TaskEvent(0, "assistant", "generating", tokens_out=3, tool_calls=1),
        TaskEvent(0, "assistant", "tool", "calculator", 3, 2),
        TaskEvent(0, "assistant", "done", "", 9, 2),
        TaskEvent(1, "clerk", "failed", "no tool fits"),
    ):
        report.event(event)
    lines = out.getvalue().splitlines()
    assert lines[0] == "2 tasks started"
    assert [line.partition(" s  ")[2] for line in lines[1:]] == [
        "task 1  assistant: works",
        "task 1  assistant: calls calculator",
        "task 1  assistant: calls calculator",
        "task 1  assistant: done, 9 tokens, 2 tool calls",
        "task 2  clerk: failed: no tool fits",
    ]


def test_plain_ends_with_results_and_a_total() -> None:
    out = io.StringIO()
    report = PlainReport(out, io.StringIO())
    report.begin(2)
    report.result(ANSWERED)
    report.end([ANSWERED, FAILED], STATE)
    blocks = out.getvalue().split("\n\n")
    assert blocks[1] == (
        "assistant: What is 2 plus 2?\n    2 plus 2 is 4.\n"
        "    1.50 s (waited 0.25 s), 100 tokens in (60 cached), 20 out, 1 tool call"
    )
    assert "    failed: no tool fits\n" in blocks[2]
    assert blocks[3].splitlines() == [
        "used:",
        "    clerk: 2 tasks, 3 LLM calls, 90 tokens in (40 cached), 12 out, 0 tool calls, waited 0.75 s",
        "    assistant: 1 task, 1 LLM call, 30 tokens in (0 cached), 7 out, 1 tool call, waited 0.00 s",
        "    nano, fair: 4 LLM calls, mean wait 0.25 s, 1 preemption",
        "    run: 139 tokens, 1 tool call, 0 agents made",
    ]
    assert blocks[4].startswith("2 tasks: 1 answered, 1 failed in ")


def test_an_answer_of_several_lines_is_indented() -> None:
    result = msgspec.structs.replace(ANSWERED, answer="one\ntwo")
    assert "\n    one\n    two\n" in describe(result)


def test_the_total_has_rates() -> None:
    assert summarize([ANSWERED, FAILED], 3.0) == (
        "2 tasks: 1 answered, 1 failed in 3.0 s; 30 tokens generated, 10 tokens/s; mean turnaround 2.00 s"
    )
    assert summarize([], 1.0) == "0 tasks: 0 answered, 0 failed in 1.0 s"


def test_json_prints_results_only() -> None:
    out, notes = io.StringIO(), io.StringIO()
    report = JsonReport(out, notes)
    report.begin(2)
    report.event(TaskEvent(0, "assistant", "running"))
    report.note("draining")
    report.result(ANSWERED)
    report.result(FAILED)
    report.end([ANSWERED, FAILED], STATE)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0] == {
        "agent": "assistant", "task": "What is 2 plus 2?", "answer": "2 plus 2 is 4.", "error": "", "turnaround_s": 1.5,
        "waiting_s": 0.25, "tokens_in": 100, "tokens_out": 20, "tokens_cached": 60, "tool_calls": 1,
    }  # fmt: skip
    assert lines[1]["answer"] is None and lines[1]["error"] == "no tool fits"
    assert len(lines) == 2
    assert notes.getvalue() == "draining\n"


def terminal(height: int = 24) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=110, height=height, highlight=False, color_system=None), out


def shown(report: LiveReport) -> list[str]:
    console, out = terminal()
    console.print(report.render())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_live_shows_those_at_work() -> None:
    report = LiveReport(terminal()[0])
    report.begin(4)
    report.close()
    report.event(TaskEvent(0, "assistant", "tool", "calculator", 7, 1))
    report.event(TaskEvent(1, "clerk", "queued"))
    report.event(TaskEvent(2, "planner", "failed", "no"))
    lines = shown(report)
    assert lines[0].startswith("1 of 4 tasks ended (1 failed), 1 at work, 0 waiting for the LLM, 2 queued; 7 tokens, ")
    assert lines[1].split() == ["agent", "state", "detail", "tokens", "tool", "calls", "elapsed"]
    assert lines[2].split()[:5] == ["assistant", "tool", "calculator", "7", "1"]
    assert len(lines) == 3


def test_live_fits_a_fleet_in_the_terminal() -> None:
    report = LiveReport(terminal(height=12)[0])
    for task in range(64):
        report.event(TaskEvent(task, f"agent-{task}", "waiting" if task < 60 else "generating"))
    lines = shown(report)
    assert len(lines) <= 12
    assert [line.split()[0] for line in lines[2:7]] == ["agent-60", "agent-61", "agent-62", "agent-63", "agent-0"]
    assert lines[-1] == "and 57 more"


def test_live_ends_with_the_results_as_they_are() -> None:
    console, out = terminal()
    report = LiveReport(console)
    report.begin(1)
    report.end([msgspec.structs.replace(ANSWERED, answer="[bold]not markup[/bold]", task="[red]x")], STATE)
    text = out.getvalue()
    assert "[bold]not markup[/bold]" in text and "[red]x" in text
    assert "1 task: 1 answered, 0 failed" in text
