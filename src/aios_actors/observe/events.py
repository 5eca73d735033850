"""What a run tells its watchers: how each task comes along, and how it ended."""

from typing import Literal

import msgspec


class TaskEvent(msgspec.Struct, frozen=True):
    """A change in a task's progress.

    Attributes:
        task: index of the task in the run, from 0.
        agent: name of the agent instance, or of its kind while the task waits for one.
        state: "queued" (for an agent), "running" (its code), "waiting" (for the LLM), "generating", "tool", "done",
            "failed".
        detail: name of the tool, or the error.
        tokens_out: tokens generated for this task so far.
        tool_calls: calls made so far.
    """

    task: int
    agent: str
    state: Literal["queued", "running", "waiting", "generating", "tool", "done", "failed"]
    detail: str = ""
    tokens_out: int = 0
    tool_calls: int = 0


class TaskResult(msgspec.Struct, frozen=True):
    """How a task ended: with an answer or an error.

    Attributes:
        agent: name of the agent instance.
        task: the task's input.
        answer: what the agent returned, as text; null when it failed.
        error: why it failed, "" if it did not.
        turnaround_s: seconds from the start of the run to the end of this task.
        waiting_s: seconds of these in which its LLM calls waited for a place on a worker.
        tokens_in: tokens of all its prompts.
        tokens_out: tokens generated.
        tokens_cached: prompt tokens whose KV was at hand.
        tool_calls: tool calls made.
    """

    agent: str
    task: str
    answer: str | None
    error: str
    turnaround_s: float
    waiting_s: float
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tool_calls: int
