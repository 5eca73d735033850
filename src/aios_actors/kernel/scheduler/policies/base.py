"""What a scheduling policy is: a queue with an opinion. Policies are pure: no clock, no actors, no model."""

from typing import Protocol

from aios_actors.kernel.scheduler.job import Job


class Policy(Protocol):
    """Chooses which waiting LLM call of one model runs next.

    Attributes:
        slice: tokens that a job may generate before it makes room for a waiting one; 0 lets it run to its end.
    """

    slice: int

    def add(self, job: Job) -> None:
        """A job arrives."""

    def requeue(self, job: Job, *, lost: bool) -> None:
        """A job comes back: its slice is over, or (`lost`) its worker died, which is not the job's fault."""

    def remove(self, job: Job) -> bool:
        """A waiting job is cancelled. False if it does not wait here."""

    def next(self) -> Job | None:
        """Take out the job that runs next; None if none waits."""

    def __len__(self) -> int:
        """How many wait."""
