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
    """Raised when the engine refuses or fails one generation: prompt too long, schema not supported."""


class ToolFailed(SyscallError):
    """Raised when a tool raised an exception or returned what cannot be shown to a model."""


class ToolTimeout(SyscallError):
    """Raised when a tool did not end within its time limit."""


class AgentFailed(SyscallError):
    """Raised to the asker when the asked agent's own code raised an exception."""


class WaitCycle(SyscallError):
    """Raised when an agent asks an agent that, directly or not, already waits for it."""


class NodeStopping(SyscallError):
    """Raised when a request arrives while the node shuts down."""


class Busy(SyscallError):
    """Raised when the queue of LLM calls is full; nothing was done, try again later."""


class NoAnswer(SyscallError):
    """Raised when a ready-made loop used up its steps without a final answer."""


class DataUnavailable(SyscallError):
    """Raised when the disk refuses to read or write the node's data: it is full, read-only or failing."""
