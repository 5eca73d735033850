"""What a node tells of itself when asked: who used what since it started, how long the lines before the models are."""

import msgspec


class AgentTotals(msgspec.Struct, frozen=True):
    """What an agent has used since the node started, in all its tasks.

    Attributes:
        agent: its name; agents that were made by others count together, as `kind-*`.
        tasks: tasks begun.
        failed: those of them that failed.
        calls: LLM calls answered.
        tokens_in, tokens_cached, tokens_out: of these, see `Usage`.
        waiting_s: seconds that they waited.
        preemptions: turns that ended before they did.
        tool_calls: tool calls made.
        state: what it does now: "idle", "paused", or as in `TaskEvent`.
        detail: name of the tool that it calls.
    """

    agent: str
    tasks: int = 0
    failed: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    waiting_s: float = 0.0
    preemptions: int = 0
    tool_calls: int = 0
    state: str = "idle"
    detail: str = ""


class PolicyTotals(msgspec.Struct, frozen=True):
    """What a policy has done since it was chosen first.

    Attributes:
        policy: its name in the config.
        calls: LLM calls that ended under it.
        waiting_s, turnaround_s: seconds that these waited, and took, in all.
        preemptions: turns that it ended before the call did.
    """

    policy: str
    calls: int = 0
    waiting_s: float = 0.0
    turnaround_s: float = 0.0
    preemptions: int = 0


class ModelState(msgspec.Struct, frozen=True):
    """The line before a model.

    Attributes:
        model: its name.
        policy: who decides now.
        waiting, running: LLM calls.
        places: calls that its workers can run at the same time.
        estimate_s: seconds until a call that came now would get a place, judged by those that ended lately.
        policies: what each policy has done.
        error: why the model is not served; "" if it is.
    """

    model: str
    policy: str
    waiting: int
    running: int
    places: int
    estimate_s: float
    policies: tuple[PolicyTotals, ...] = ()
    error: str = ""


class RunTotals(msgspec.Struct, frozen=True):
    """What the tasks of the config have used, with all that they caused; counted as budgets are."""

    tokens: int = 0
    tool_calls: int = 0
    agents: int = 0


class NodeState(msgspec.Struct, frozen=True):
    """A node at one moment."""

    agents: tuple[AgentTotals, ...] = ()
    models: tuple[ModelState, ...] = ()
    run: RunTotals = RunTotals()
