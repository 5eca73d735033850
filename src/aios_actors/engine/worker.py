"""The worker process: `python -m aios_actors.engine.worker --socket PATH`.

Contract: connects to the node's Unix socket, says `Hello` with the token from the environment variable
`AIOS_WORKER_TOKEN`, loads what `Start` names, and then runs the step loop in the main thread. A reader thread puts the
node's frames into a queue; the loop takes them in between two steps and blocks on the queue when there is no work. The
process ends with 0 after `Shutdown`, with 0 at once when the node closes the connection or dies, with 1 after
`StartFailed` (the frame says why) and with 2 after a broken frame.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import queue
import signal
import socket
import sys
import threading

import structlog

from aios_actors.engine.chat import TemplateError
from aios_actors.engine.loop import Engine
from aios_actors.engine.model import LoadError, load
from aios_actors.engine.protocol import (
    Cancel,
    Fault,
    Forget,
    Hello,
    Loading,
    NodeFrame,
    Ping,
    Pong,
    Preempt,
    ProtocolError,
    Ready,
    Shutdown,
    Start,
    StartFailed,
    Step,
    Submit,
    Tokenize,
    Tokenized,
    WorkerFrame,
    decode_node_frame,
    encode,
    receive_frame,
)
from aios_actors.engine.sequence import RequestError

TOKEN_VARIABLE = "AIOS_WORKER_TOKEN"
_EXIT_START_FAILED, _EXIT_PROTOCOL = 1, 2
_PR_SET_PDEATHSIG = 1


class Worker:
    """One connection to a node, and the engine that serves it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._commands: queue.SimpleQueue[NodeFrame] = queue.SimpleQueue()
        self._running = True

    def serve(self, token: str) -> int:
        """Run until shutdown; the process's exit status."""
        self._send(Hello(token, os.getpid()))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        first = self._commands.get()
        if not isinstance(first, Start):
            return 0 if isinstance(first, Shutdown) else _EXIT_PROTOCOL
        try:
            model = load(first.spec, lambda done: self._send(Loading(done)))
            engine = Engine(model)
        except LoadError as error:
            self._send(StartFailed(error.code, str(error)))
            return _EXIT_START_FAILED
        except TemplateError as error:
            self._send(StartFailed("bad_template", str(error)))
            return _EXIT_START_FAILED
        self._loop(engine)
        model.close()
        return 0

    def _loop(self, engine: Engine) -> None:
        """Take in commands, step, send what happened; until shutdown."""
        self._send(Ready(engine.info()))
        while self._running:
            if not engine.has_work:
                self._obey(engine, self._commands.get())
            while not self._commands.empty():
                self._obey(engine, self._commands.get())
            events = engine.step()
            if events:
                self._send(Step(events))

    def _obey(self, engine: Engine, frame: NodeFrame) -> None:
        match frame:
            case Submit():
                engine.submit(frame)
            case Cancel(id=request):
                engine.cancel(request)
            case Preempt(id=request):
                engine.preempt(request)
            case Forget(conversation=conversation):
                engine.forget(conversation)
            case Tokenize():
                self._send(_tokenized(engine, frame))
            case Ping(n=n):
                self._send(Pong(n, engine.stats()))
            case Shutdown():
                engine.preempt_all()
                self._running = False
            case Start():
                raise ProtocolError("the node sent a second Start; a worker serves one model")

    def _read(self) -> None:
        """The reader thread: frames into the queue until the connection ends, and with it the process."""
        try:
            while (payload := receive_frame(self._connection)) is not None:
                self._commands.put(decode_node_frame(payload))
        except ProtocolError as error:
            structlog.get_logger("worker").error("protocol_error", error=str(error))
            os._exit(_EXIT_PROTOCOL)
        # Without a node there is nobody to work for, and nothing here that another worker could not compute again.
        os._exit(0)

    def _send(self, frame: WorkerFrame) -> None:
        try:
            self._connection.sendall(encode(frame))
        except OSError:  # the node is gone: as the reader thread would find a moment later
            os._exit(0)


def _tokenized(engine: Engine, frame: Tokenize) -> Tokenized:
    try:
        return Tokenized(frame.id, tuple(engine.prompts.tokens(frame.prompt)))
    except RequestError as error:
        return Tokenized(frame.id, error=Fault(error.code, str(error)))


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere the closed connection does it a little later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Parse the command line, connect, serve."""
    parser = argparse.ArgumentParser(
        prog="python -m aios_actors.engine.worker", description="A worker of an aios node."
    )
    parser.add_argument("--socket", required=True, help="the node's Unix socket")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    arguments = parser.parse_args()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the node decides what to end
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(arguments.log_level),
    )
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(arguments.socket)
    return Worker(connection).serve(os.environ.pop(TOKEN_VARIABLE, ""))


if __name__ == "__main__":
    sys.exit(main())
