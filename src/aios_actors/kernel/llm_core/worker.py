"""What the LLM core knows of one worker, and how long it bears with it.

Contract: a worker has places only between `ready` and `gone`. One that dies more than `RESTARTS` times within
`PERIOD_S` seconds is not worth another start.
"""

from dataclasses import dataclass, field

from aios_actors.actors import ActorRef
from aios_actors.engine.protocol import NodeFrame
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.kernel.llm_core.generation import Generation
from aios_actors.kernel.llm_core.messages import Send

RESTARTS, PERIOD_S = 5, 60.0
"""A worker that dies more than this often within this many seconds is given up."""


@dataclass(slots=True)
class Worker:
    """A worker, whether its process runs or not.

    Attributes:
        spec: how it is started; `name` is the model's.
        link: the actor that is connected to it; None while there is none.
        info: its model and settings; None while it does not serve.
        pid: of its process; 0 while it does not serve.
        error: why it was given up; "" if it was not.
        deaths: clock times of its latest deaths.
        running: the generations that it has, by id.
    """

    spec: WorkerSpec
    link: ActorRef | None = None
    info: ModelInfo | None = None
    pid: int = 0
    error: str = ""
    deaths: list[float] = field(default_factory=list)
    running: dict[int, Generation] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Generations that it can run at the same time."""
        return self.info.sequences if self.info else 0

    def pass_on(self, frame: NodeFrame) -> None:
        """To the worker's link; if that just died, its Down is on the way and settles the matter."""
        if self.link is not None and self.link.alive:
            self.link.tell(Send(frame))

    def ready(self, info: ModelInfo, pid: int) -> None:
        """Its process serves."""
        self.info, self.pid = info, pid

    def gone(self) -> None:
        """Its process has ended."""
        self.link, self.info, self.pid = None, None, 0

    def died(self, now: float) -> bool:
        """Notes a death. Whether there were too many lately."""
        self.deaths = [at for at in self.deaths if now - at < PERIOD_S] + [now]
        return len(self.deaths) > RESTARTS
