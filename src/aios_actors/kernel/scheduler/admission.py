"""Who may join a model's line, and as what.

Contract: `ticket_of` tells the policy whose a call is, how urgent, and by when its answer is of use: before the call's
own deadline, the end of its task's budget of time and the deadline in the agent's config. `admit` refuses a call for
which the line is too long. Both are functions of what they are given.
"""

import math

from aios_actors.engine.messages import ChatPrompt
from aios_actors.kernel.accounts import Account
from aios_actors.kernel.scheduler.job import estimated_tokens
from aios_actors.kernel.scheduler.line import Line
from aios_actors.kernel.scheduler.policies import Ticket
from aios_actors.syscalls.errors import Busy, DeadlineInfeasible
from aios_actors.syscalls.llm import Chat


def ticket_of(call: Chat, request: int, caller: str, account: Account, now: float, deadline: float | None) -> Ticket:
    """What the policy is to know of a call.

    Args:
        call: the syscall.
        request: its number.
        caller: name of the agent.
        account: the agent's.
        now: clock time.
        deadline: clock time until which the caller waits; None for ever.
    """
    ticket = Ticket(request, caller, now, estimated_tokens(ChatPrompt(call.messages)), group=caller)
    ends = min(end for end in (deadline, account.end(), math.inf) if end is not None)
    if account.config is not None:
        own = account.config
        ticket.program, ticket.priority, ticket.weight = account.program, own.priority, own.weight
        # The shares of who is asked are those of who began: nobody gets more by asking many.
        ticket.group = own.group or account.root.agent
        if own.deadline_s is not None:
            ends = min(ends, now + own.deadline_s)
    ticket.deadline = ends
    return ticket


def admit(line: Line, ticket: Ticket, model: str, limit: int) -> None:
    """Lets a call join the line of `model`, in which at most `limit` wait.

    Raises:
        Busy: so many wait already.
        DeadlineInfeasible: the policy counts on no answer before the ticket's deadline.
    """
    waiting = len(line.policy)
    if waiting >= limit:
        estimate = line.service_s / max(line.places, 1) or None
        when = f"in about {estimate:.2g} s" if estimate else "later"
        raise Busy(f"{waiting} LLM calls wait for model {model!r}, which is its limit; try again {when}", estimate)
    admitted, estimate = line.admits(ticket, ticket.arrived)
    if not admitted:
        had = ticket.deadline - ticket.arrived
        why = f"the call should be answered within {had:.2g} s, and would take about {estimate:.2g} s"
        raise DeadlineInfeasible(f"{why}, as {waiting} calls wait for model {model!r}", estimate, had)
