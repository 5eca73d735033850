"""The actor that stands for one worker process.

It starts the process, passes frames both ways and watches that the process answers. It ends when the process ends: with
a crash if that was not asked for. The LLM core monitors it and decides whether there will be another.
"""

from pathlib import Path

import structlog

from aios_actors.actors import Actor, ActorRef, MailboxSpec, handler
from aios_actors.engine.protocol import Embedded, Loading, Ping, Pong, Ready, Start, StartFailed, Step
from aios_actors.engine.spec import WorkerSpec
from aios_actors.kernel.llm_core.messages import Beat, Send, Stepped, TextsEmbedded, WorkerReady, WorkerUnfit
from aios_actors.kernel.llm_core.process import WorkerGone, WorkerProcess, open_worker

log = structlog.get_logger(__name__)


class WorkerLink(Actor):
    """One incarnation of one worker."""

    mailbox = MailboxSpec(capacity=65_536)
    restart = "temporary"

    def __init__(
        self, worker: int, spec: WorkerSpec, folder: Path, core: ActorRef, hang_s: float, arguments: tuple[str, ...]
    ) -> None:
        """Makes a link.

        Args:
            worker: its number.
            spec: what the process is started with.
            folder: where its socket is.
            core: who is told of its frames.
            hang_s: the process is killed when it says nothing for this long, up to twice as long.
            arguments: of its command line, beside the socket.
        """
        self._worker = worker
        self._spec = spec
        self._folder = folder
        self._core = core
        self._hang_s = hang_s
        self._arguments = arguments
        self._process: WorkerProcess | None = None
        self._beats = 0
        self._heard = True

    async def started(self) -> None:
        """Starts the process in a task, so that frames flow while messages are handled."""
        self.start_task(self._serve(), name="serve")

    async def _serve(self) -> None:
        async with open_worker(self._folder, f"worker-{self._worker}", self._arguments) as process:
            process.send(Start(self._spec))
            log.info("worker started", worker=self._worker, pid=process.pid, model=self._spec.name)
            async for frame in process.frames():
                self._heard = True
                match frame:
                    case Step(events):
                        await self._core.send(Stepped(self._worker, events))
                    case Embedded():
                        await self._core.send(TextsEmbedded(frame))
                    case Loading(progress):
                        log.debug("worker loads", worker=self._worker, progress=progress)
                    case Ready(model):
                        self._process = process
                        self.timers.start("beat", self._hang_s, Beat())
                        await self._core.send(WorkerReady(self._worker, process.pid, model))
                    case StartFailed(code, message):
                        await self._core.send(WorkerUnfit(self._worker, code, message))
                        self.ref.stop()
                        return
                    case Pong(_, stats):
                        log.debug("worker lives", worker=self._worker, steps=stats.steps, running=stats.running)
            self._process = None
            raise WorkerGone(f"worker {self._worker} {await process.exit_status()}")

    @handler
    def send_frame(self, message: Send) -> None:
        """Passes a frame on; one for a worker that is going down is dropped, since its requests are lost anyway."""
        if self._process is not None:
            self._process.send(message.frame)

    @handler
    def beat(self, message: Beat) -> None:
        """Kills a worker that said nothing since the last heartbeat."""
        if self._process is None:
            return
        if not self._heard:
            log.warning("worker hangs", worker=self._worker, seconds=self._hang_s)
            self._process.kill()
            return
        self._heard = False
        self._beats += 1
        self._process.send(Ping(self._beats))
        self.timers.start("beat", self._hang_s, message)
