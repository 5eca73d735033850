"""What a run shows on standard output: JSON objects, or plain lines, or (in live.py) a live table.

Contract: `Report` is told of each event, each result and the end, all on one thread. `JsonReport` prints one object a
result and nothing else. `PlainReport` prints a line for each change worth telling, and the results at the end. Notes to
the user (signals, downloads) go to standard error in every form. A closed pipe raises BrokenPipeError.
"""

import time
from collections.abc import Sequence
from typing import Protocol, TextIO

import msgspec

from aios_actors.observe.events import TaskEvent, TaskResult
from aios_actors.observe.state import NodeState, RunTotals

_INDENT = " " * 4
_MOST_AGENTS = 12


class Report(Protocol):
    """How a run comes along and what came out of it."""

    def begin(self, tasks: int) -> None:
        """The node is ready; `tasks` of them start now."""

    def event(self, event: TaskEvent) -> None:
        """A task's progress has changed."""

    def result(self, result: TaskResult) -> None:
        """A task has ended."""

    def note(self, text: str) -> None:
        """Something that the user should know now."""

    def end(self, results: Sequence[TaskResult], state: NodeState) -> None:
        """All tasks have ended."""

    def close(self) -> None:
        """Gives the terminal back as it was; may be called at any time and more than once."""


class JsonReport:
    """One JSON object a result, flushed as each ends.

    Args:
        out: standard output.
        notes: where notes go.
    """

    def __init__(self, out: TextIO, notes: TextIO) -> None:
        self._out = out
        self._notes = notes

    def begin(self, tasks: int) -> None:
        """Prints nothing."""

    def event(self, event: TaskEvent) -> None:
        """Prints nothing."""

    def result(self, result: TaskResult) -> None:
        print(msgspec.json.encode(result).decode(), file=self._out, flush=True)

    def note(self, text: str) -> None:
        print(text, file=self._notes, flush=True)

    def end(self, results: Sequence[TaskResult], state: NodeState) -> None:
        """Prints nothing."""

    def close(self) -> None:
        """There is nothing to give back."""


class PlainReport:
    """Lines for a log file or a pipe.

    Args:
        out: standard output.
        notes: where notes go.
    """

    def __init__(self, out: TextIO, notes: TextIO) -> None:
        self._out = out
        self._notes = notes
        self._begun = time.monotonic()
        self._told: dict[int, tuple[str, str, int]] = {}

    def begin(self, tasks: int) -> None:
        self._begun = time.monotonic()
        self._print(f"{count(tasks, 'task')} started")

    def event(self, event: TaskEvent) -> None:
        now = (event.state, event.detail, event.tool_calls)
        before = self._told.get(event.task, ("", "", 0))
        if now == before:
            return
        if text := _line(event, first=event.task not in self._told):
            self._told[event.task] = now
            self._print(f"{time.monotonic() - self._begun:7.1f} s  task {event.task + 1}  {event.agent}: {text}")

    def result(self, result: TaskResult) -> None:
        """Prints nothing: the results come at the end."""

    def note(self, text: str) -> None:
        print(text, file=self._notes, flush=True)

    def end(self, results: Sequence[TaskResult], state: NodeState) -> None:
        for result in results:
            self._print("\n" + describe(result))
        self._print("\n" + totals(state))
        self._print("\n" + summarize(results, time.monotonic() - self._begun))

    def close(self) -> None:
        """There is nothing to give back."""

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _line(event: TaskEvent, *, first: bool) -> str:
    """What is worth telling of an event; "" for the to and fro of waiting and generating."""
    if event.state == "tool":
        return f"calls {event.detail}"
    if event.state == "failed":
        return f"failed: {event.detail}"
    if event.state == "done":
        return f"done, {count(event.tokens_out, 'token')}, {count(event.tool_calls, 'tool call')}"
    return "works" if first and event.state != "queued" else ""


def describe(result: TaskResult) -> str:
    """A result in a few lines: agent and task, answer or error, and its figures."""
    outcome = result.answer if result.error == "" else f"failed: {result.error}"
    lines = [f"{result.agent}: {result.task}", *(_INDENT + line for line in (outcome or "").splitlines() or [""])]
    return "\n".join([*lines, _INDENT + figures(result)])


def figures(result: TaskResult) -> str:
    """A result's times, tokens and tool calls."""
    return (
        f"{result.turnaround_s:.2f} s (waited {result.waiting_s:.2f} s), {result.tokens_in} tokens in "
        f"({result.tokens_cached} cached), {result.tokens_out} out, {count(result.tool_calls, 'tool call')}"
    )


def totals(state: NodeState) -> str:
    """What the agents, the models' policies and the run used, a line each; of many agents those that used most."""
    agents = sorted(state.agents, key=lambda each: each.tokens_in + each.tokens_out, reverse=True)
    lines = [
        f"{each.agent}: {count(each.tasks, 'task')}, {count(each.calls, 'LLM call')}, {each.tokens_in} tokens in "
        f"({each.tokens_cached} cached), {each.tokens_out} out, {count(each.tool_calls, 'tool call')}, "
        f"waited {each.waiting_s:.2f} s"
        for each in agents[:_MOST_AGENTS]
    ]
    if len(agents) > _MOST_AGENTS:
        lines.append(f"and {len(agents) - _MOST_AGENTS} more")
    for model in state.models:
        for done in model.policies:
            mean = done.waiting_s / max(done.calls, 1)
            ended = f"{count(done.calls, 'LLM call')}, mean wait {mean:.2f} s, {count(done.preemptions, 'preemption')}"
            lines.append(f"{model.model}, {done.policy}: {ended}")
    lines.append(run_totals(state.run))
    return "\n".join(["used:", *(_INDENT + line for line in lines)])


def run_totals(run: RunTotals) -> str:
    """What the tasks of the config have used, with all that they caused, in a line."""
    return f"run: {run.tokens} tokens, {count(run.tool_calls, 'tool call')}, {count(run.agents, 'agent')} made"


def summarize(results: Sequence[TaskResult], seconds: float) -> str:
    """The closing line: how many were answered, how fast."""
    failed = sum(result.error != "" for result in results)
    tokens = sum(result.tokens_out for result in results)
    parts = [f"{count(len(results), 'task')}: {len(results) - failed} answered, {failed} failed in {seconds:.1f} s"]
    if results:
        mean = sum(result.turnaround_s for result in results) / len(results)
        parts.append(f"{tokens} tokens generated, {tokens / max(seconds, 1e-9):.0f} tokens/s")
        parts.append(f"mean turnaround {mean:.2f} s")
    return "; ".join(parts)


def count(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
