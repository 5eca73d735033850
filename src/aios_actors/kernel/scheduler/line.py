"""The line before one model: who waits, how many places its workers have, how many of these are taken."""

from dataclasses import dataclass, field

from aios_actors.kernel.scheduler.job import Job
from aios_actors.kernel.scheduler.policies import Policy


@dataclass(slots=True)
class Line:
    """One model's waiting and running jobs.

    Attributes:
        policy: holds the waiting ones and chooses among them.
        places: generations that the model's workers can run at the same time.
        running: the jobs that have a place.
        error: why there will never be a place; "" while there may.
    """

    policy: Policy
    places: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    error: str = ""

    def take(self) -> Job | None:
        """The next job, if there is a place for it; it then holds the place."""
        if len(self.running) >= self.places:
            return None
        job = self.policy.next()
        if job is not None:
            self.running[job.id] = job
        return job

    def drain(self) -> list[Job]:
        """Takes out all waiting jobs."""
        return [job for job in iter(self.policy.next, None) if job is not None]
