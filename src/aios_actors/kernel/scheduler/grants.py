"""What the turns of calls may use of their budgets, and who waits for some of that.

Contract: a turn begins with `grant` and ends with `take_back`, so that calls under way never promise the same tokens
twice. A call for which nothing is left, while others under way may still give some back, steps aside from its line
until `readmit`; `drop` forgets one that does not wait any more.
"""

from collections.abc import Iterable

from aios_actors.kernel.accounts import Accounts
from aios_actors.kernel.scheduler.job import Job
from aios_actors.kernel.scheduler.line import Line


class Grants:
    """The grants of the calls under way; none at first, whatever another scheduler left in `accounts`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._aside: dict[int, Job] = {}
        accounts.take_back_all()

    def grant(self, job: Job, now: float) -> bool:
        """Sets aside what a turn may use of its budgets. False if it has to wait for that.

        Raises:
            BudgetExceeded: there is nothing to wait for.
        """
        job.wanted = max(job.call.sampling.max_tokens - job.ticket.generated, 1)
        job.granted = self._accounts.grant(job.account, job.wanted)
        if job.granted == 0:
            job.line.step_aside(job.ticket, now)
            self._aside[job.id] = job
        return job.granted > 0

    def take_back(self, job: Job) -> None:
        """Gives back what a turn did not use."""
        self._accounts.take_back(job.account, job.granted)
        job.granted = 0

    def drop(self, job: Job) -> None:
        """The call waits for nothing here any more, if it did."""
        self._aside.pop(job.id, None)

    def readmit(self, lines: Iterable[Line]) -> list[Line]:
        """Calls that stepped aside join their lines again; those of `lines` that are meant are returned."""
        aside, self._aside = self._aside, {}
        for job in aside.values():
            job.line.policy.add(job.ticket)
        return [line for line in lines if any(job.line is line for job in aside.values())]
