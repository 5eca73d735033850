"""The context switch of a generation: what is kept of it when it leaves its worker, and how it goes on.

Contract: tokens are the whole state of a generation. `save` gives them to the context actor at the end of each turn;
`request` asks for them, and makes of a call and of what was generated what a worker is to do next. In a run with a
journal they are kept under a name that outlives the node, so that a run that is resumed goes on where it was.
"""

import contextlib
from collections.abc import Callable

from aios_actors.actors import ActorRef
from aios_actors.engine.messages import TokenPrompt
from aios_actors.kernel.context import Forget, Latest, Load, Save
from aios_actors.kernel.journal import Journal
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.kernel.scheduler.job import Job
from aios_actors.syscalls.context import Snapshot
from aios_actors.syscalls.errors import NotFound


class ContextSwitch:
    """Keeps generations with the context actor, which `service` finds; `journal`: of the run, if it has one."""

    def __init__(self, service: Callable[[str], ActorRef], journal: Journal | None) -> None:
        self._service = service
        self._journal = journal

    def name(self, caller: str, number: int) -> str:
        """What the generation of an agent's call is kept under beyond the node's life; "" if it is in no journal."""
        return "" if self._journal is None else self._journal.name(caller, number)

    async def request(self, job: Job) -> Generate:
        """What the LLM core is asked for: the call itself, or what is left of it after a switch."""
        call, generated = job.call, tuple[int, ...]()
        kept = await self._kept(job)
        if kept is not None:
            split = len(kept.tokens) - kept.generated
            generated = kept.tokens[split:]
            job.ticket.generated = len(generated)
            if split:
                job.prompt = TokenPrompt(kept.tokens[:split], call.tools)
        slice, most = job.line.policy.slice(job.ticket), job.granted if job.granted < job.wanted else 0
        return Generate(
            id=job.id,
            caller=job.caller,
            model=call.model,
            prompt=job.prompt,
            sampling=call.sampling,
            constraint=call.constraint,
            generated=generated,
            conversation=f"{job.caller}/{call.conversation}",
            slice=min(slice, most) if slice and most else slice or most,
            priority=job.line.policy.urgency(job.ticket),
            adapters=call.adapters,
            reserve=call.reserve,
            on_text=call.on_text,
            retell=not job.switched,
            account=job.account,
        )

    async def _kept(self, job: Job) -> Snapshot | None:
        """The tokens that the call goes on from: its own, of before a switch or a restart, or a conversation's."""
        context, call = self._service("context"), job.call
        if job.switched:
            return await context.ask(Load(job.name))
        if self._journal is not None and self._journal.under_way(job.caller, call.number):
            with contextlib.suppress(NotFound):
                return await context.ask(Load(job.name))
        return None if call.messages else await context.ask(Latest(job.caller, call.conversation))

    def save(self, job: Job, outcome: Outcome, done: bool) -> None:
        """A turn is over, and with `done` the call."""
        prompt = outcome.result.prompt_tokens if outcome.result else ()
        call = job.call
        self._service("context").tell(
            Save(job.name, job.caller, call.conversation, call.model, prompt, outcome.generated, done)
        )

    def forget(self, job: Job) -> None:
        """The call will not go on: what a switch left of it is of no more use."""
        if job.switched:
            self._service("context").tell(Forget(job.name))
