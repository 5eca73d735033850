"""First in, first out: each job runs to its end, in order of arrival."""

from collections import OrderedDict

from aios_actors.kernel.scheduler.job import Job


class Fifo:
    """The queue in order of arrival. A job whose worker died goes back to the front."""

    slice = 0

    def __init__(self) -> None:
        self._queue: OrderedDict[int, Job] = OrderedDict()

    def add(self, job: Job) -> None:
        self._queue[job.id] = job

    def requeue(self, job: Job, *, lost: bool) -> None:
        self._queue[job.id] = job
        if lost:
            self._queue.move_to_end(job.id, last=False)

    def remove(self, job: Job) -> bool:
        return self._queue.pop(job.id, None) is not None

    def next(self) -> Job | None:
        return self._queue.popitem(last=False)[1] if self._queue else None

    def __len__(self) -> int:
        return len(self._queue)
