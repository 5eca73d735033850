"""The errors a syscall can end in, one class a meaning.

Each is a `Refusal`: raised in a kernel actor's handler it goes back to the agent that asked, and the kernel
actor lives on. The message says what was wrong, where, and what to do.
"""

from aios_actors.actors.errors import Refusal


class SyscallError(Refusal):
    """Base of all errors that the kernel answers a syscall with."""


class AccessDenied(SyscallError):
    """Raised when the caller holds no grant for the verb and the resource."""


class NotFound(SyscallError):
    """Raised when the named note, file, version, tool, agent or model does not exist."""


class InvalidArgument(SyscallError):
    """Raised when an argument has the wrong type, form or range."""


class QuotaExceeded(SyscallError):
    """Raised when a caller's storage, memory or call quota would be exceeded."""


class ModelUnavailable(SyscallError):
    """Raised when no worker serves the model and none can be started."""


class GenerationFailed(SyscallError):
    """Raised when the engine refuses or fails one generation: schema not supported, decoding failed."""


class ContextOverflow(GenerationFailed):
    """Raised when a conversation has outgrown the model's window.

    Attributes:
        tokens: tokens of the conversation, with the tools that the call offers.
        window: tokens that the model can hold, those that it generates included.
    """

    def __init__(self, message: str, tokens: int = 0, window: int = 0) -> None:
        super().__init__(message)
        self.tokens = tokens
        self.window = window


class EmbeddingFailed(SyscallError):
    """Raised when the engine refuses to embed texts: the model is none for that, or a text is too long or empty."""


class ToolFailed(SyscallError):
    """Raised when a tool raised an exception or returned what cannot be shown to a model."""


class ToolTimeout(SyscallError):
    """Raised when a tool did not end within its time limit."""


class AgentFailed(SyscallError):
    """Raised to the asker when the asked agent's own code raised an exception."""


class AgentKilled(SyscallError):
    """Raised to whoever waits for an agent that was killed."""


class WaitCycle(SyscallError):
    """Raised when an agent asks an agent that, directly or not, already waits for it."""


class ReplayDiverged(SyscallError):
    """Raised when an agent of a resumed run asks for something else than the run's journal holds."""


class NodeStopping(SyscallError):
    """Raised when a request arrives while the node shuts down."""


class Busy(SyscallError):
    """Raised when the queue of LLM calls is full; nothing was done, try again later.

    `estimate_s`: seconds until there is a place in the queue, judged by the calls that ended lately; None if none has.
    """

    def __init__(self, message: str, estimate_s: float | None = None) -> None:
        super().__init__(message)
        self.estimate_s = estimate_s


class DeadlineInfeasible(SyscallError):
    """Raised when an LLM call would miss its deadline behind those that go before it; nothing was done.

    `estimate_s`: seconds in which it would have been answered; `deadline_s`: those that it had.
    """

    def __init__(self, message: str, estimate_s: float, deadline_s: float) -> None:
        super().__init__(message)
        self.estimate_s = estimate_s
        self.deadline_s = deadline_s


class BudgetExceeded(SyscallError):
    """Raised when a task or the run would use more than its budget.

    `owner`: the agent whose task's budget it is, or "run"; `what`: "tokens", "seconds", "tool_calls", "agents" or
    "depth"; `used` and `limit`: of that.
    """

    def __init__(self, owner: str, what: str, used: float, limit: float) -> None:
        place = "[run.budget]" if owner == "run" else f"[agents.{owner}.budget]"
        super().__init__(f"the budget of {owner!r} is used up: {what} {used:g} of {limit:g}; it is {what} in {place}")
        self.owner = owner
        self.what = what
        self.used = used
        self.limit = limit


class NoAnswer(SyscallError):
    """Raised when a ready-made loop used up its steps without a final answer."""


class DataUnavailable(SyscallError):
    """Raised when the disk refuses to read or write the node's data: it is full, read-only or failing."""
