"""One connection to a node, and the engine that serves it: the inside of a worker process.

Contract: `Worker.serve` says `Hello`, loads what `Start` names, and then runs the step loop in the calling thread. A
reader thread puts the node's frames into a queue; the loop takes them in between two steps and while a GPU computes
one, and blocks on the queue when there is no work. The end of the connection ends the process at once: there is nobody
left to work for.
"""

from __future__ import annotations

import os
import queue
import socket
import threading

import structlog

from aios_actors.engine.chat import TemplateError
from aios_actors.engine.embed import Embedder
from aios_actors.engine.framing import ProtocolError, decode_node_frame, encode, receive_frame
from aios_actors.engine.loop import Engine
from aios_actors.engine.model import LoadError, load
from aios_actors.engine.protocol import (
    Cancel,
    Embed,
    Forget,
    Hello,
    Hold,
    Loading,
    NodeFrame,
    Ping,
    Pong,
    Preempt,
    Ready,
    Shutdown,
    Start,
    StartFailed,
    Step,
    Submit,
    Tokenize,
    Tokenized,
    WorkerFrame,
)
from aios_actors.engine.sequence import RequestError

EXIT_DONE, EXIT_START_FAILED, EXIT_PROTOCOL = 0, 1, 2


class Worker:
    """One connection to a node, and the engine that serves it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._commands: queue.SimpleQueue[NodeFrame] = queue.SimpleQueue()
        self._running = True
        self._engine: Engine | None = None

    def serve(self, token: str) -> int:
        """Run until shutdown; the process's exit status."""
        self._send(Hello(token, os.getpid()))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        first = self._commands.get()
        if not isinstance(first, Start):
            return EXIT_DONE if isinstance(first, Shutdown) else EXIT_PROTOCOL
        try:
            model = load(first.spec, lambda done: self._send(Loading(done)))
            engine = Engine(model)
        except LoadError as error:
            self._send(StartFailed(error.code, str(error)))
            return EXIT_START_FAILED
        except TemplateError as error:
            self._send(StartFailed("bad_template", str(error)))
            return EXIT_START_FAILED
        self._engine = engine
        embedder = Embedder(model)
        self._loop(engine, embedder)
        embedder.close()
        model.close()
        return EXIT_DONE

    def _loop(self, engine: Engine, embedder: Embedder) -> None:
        """Take in commands, step, send what happened; until shutdown."""
        self._send(Ready(engine.info()))
        while self._running:
            if not (engine.has_work or embedder.has_work):
                self._rest(engine, embedder)
            self._take_commands(engine, embedder)
            events = engine.step(lambda: self._take_commands(engine, embedder)) if engine.has_work else ()
            if events:
                self._send(Step(events))
            for embedded in embedder.step() if embedder.has_work else ():
                self._send(embedded)

    def _take_commands(self, engine: Engine, embedder: Embedder) -> None:
        """Obey what has come."""
        while not self._commands.empty():
            self._obey(engine, embedder, self._commands.get())

    def _rest(self, engine: Engine, embedder: Embedder) -> None:
        """Without work, wait for a command, or until it is time to bring a conversation back."""
        try:
            frame = self._commands.get(timeout=engine.kv.rest_s())
        except queue.Empty:
            engine.kv.bring_back()
        else:
            self._obey(engine, embedder, frame)

    def _obey(self, engine: Engine, embedder: Embedder, frame: NodeFrame) -> None:
        match frame:
            case Submit():
                engine.submit(frame)
            case Cancel(id=request):
                engine.cancel(request)
                embedder.cancel(request)
            case Embed():
                embedder.submit(frame)
            case Preempt(id=request):
                engine.preempt(request)
            case Forget(conversation=conversation):
                engine.forget(conversation)
            case Hold(conversation=conversation, seconds=seconds):
                engine.kv.hold(conversation, seconds)
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
                frame = decode_node_frame(payload)
                self._commands.put(frame)
                if self._engine is not None:
                    self._engine.hasten(frame)
        except ProtocolError as error:
            structlog.get_logger("worker").error("protocol_error", error=str(error))
            os._exit(EXIT_PROTOCOL)
        # Without a node there is nobody to work for, and nothing here that another worker could not compute again.
        os._exit(EXIT_DONE)

    def _send(self, frame: WorkerFrame) -> None:
        try:
            self._connection.sendall(encode(frame))
        except OSError:  # the node is gone: as the reader thread would find a moment later
            os._exit(EXIT_DONE)


def _tokenized(engine: Engine, frame: Tokenize) -> Tokenized:
    try:
        return Tokenized(frame.id, tuple(engine.prompts.tokens(frame.prompt)))
    except RequestError as error:
        return Tokenized(frame.id, error=error.fault)
