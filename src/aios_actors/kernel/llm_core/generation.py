"""One generation on a worker: the frame that begins it, what it has brought, and how it is answered.

Contract: `take` each event of the worker; then one of `end` and `lose` answers the scheduler, unless nobody waits for
it any more. A listener to streamed text that raises loses its stream, not its answer.
"""

import structlog

from aios_actors.actors import Reply
from aios_actors.engine.protocol import Event, Submit
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.syscalls.errors import ContextOverflow, GenerationFailed

UNREAD_REPORT_S = 0.25
"""How often, in seconds, a worker tells the tokens of a generation whose text nobody reads as it comes.

On two CPUs each frame takes one from llama.cpp's threads. What a worker that dies had not told is computed again by
another, so this is also the most that its death costs.
"""

log = structlog.get_logger(__name__)


class Generation:
    """A stretch of a generation; `generated` are its tokens up to now, those of earlier stretches included."""

    def __init__(self, request: Generate, reply: Reply[Outcome]) -> None:
        self.request = request
        self.generated = list(request.generated)
        self._reply = reply
        self._on_text = request.on_text

    @property
    def new(self) -> int:
        """How many tokens this stretch has brought."""
        return len(self.generated) - len(self.request.generated)

    def frame(self) -> Submit:
        """What the worker is told."""
        request = self.request
        return Submit(
            id=request.id,
            prompt=request.prompt,
            sampling=request.sampling,
            constraint=request.constraint,
            generated=request.generated,
            conversation=request.conversation,
            slice=request.slice,
            priority=request.priority,
            adapters=request.adapters,
            reserve=request.reserve,
            retell=request.retell,
            report_s=0.0 if request.on_text else UNREAD_REPORT_S,
        )

    def take(self, event: Event) -> None:
        """Notes new tokens, and passes their text on."""
        self.generated.extend(event.tokens)
        if not event.text or self._on_text is None:
            return
        try:
            self._on_text(event.text)
        except Exception:
            self._on_text = None
            log.exception("listener of streamed text failed", agent=self.request.caller, syscall=self.request.id)

    def end(self, event: Event) -> None:
        """Answers with what the worker said last."""
        result = event.result
        match event.finish:
            case "stop" | "length" | "tool_calls" | "slice":
                tokens = result.tokens if result else tuple(self.generated)
                self._reply.send(Outcome(event.finish, tokens, result))
            case "preempted":
                self._reply.send(Outcome("slice", tuple(self.generated), result))
            case _:
                self._reply.fail(_error(event))

    def lose(self) -> None:
        """Answers that the worker died."""
        self._reply.send(Outcome("lost", tuple(self.generated)))


def _error(event: Event) -> GenerationFailed:
    """Why a generation ended without a result."""
    fault = event.result.error if event.result else None
    if fault is None:
        return GenerationFailed(f"the generation ended as {event.finish}")
    if fault.code == "prompt_too_long":
        return ContextOverflow(fault.message, fault.tokens, fault.window)
    return GenerationFailed(fault.message)
