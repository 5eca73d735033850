"""Round robin by token slices: a job that used up its slice goes to the back of the queue."""

from aios_actors.kernel.scheduler.policies.fifo import Fifo


class RoundRobin(Fifo):
    """Fifo, but each turn lasts `slice` generated tokens. Requeueing at the back is all the difference."""

    def __init__(self, slice: int) -> None:
        super().__init__()
        self.slice = slice
