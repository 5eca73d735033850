"""One worker process and the socket to it: the seam behind which a worker on another machine would be.

The node listens on a Unix socket (mode 0600, in a folder of the node's own) for one connection, which must begin with
the token that the worker was given by environment. Leaving the context ends the process: it is asked to stop, and
killed if it does not.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from aios_actors.engine.environment import worker_environment
from aios_actors.engine.framing import decode_worker_frame, encode, read_frame
from aios_actors.engine.protocol import (
    TOKEN_VARIABLE,
    Hello,
    NodeFrame,
    Shutdown,
    WorkerFrame,
)

GOODBYE_S = 2.0


class WorkerGone(Exception):
    """Raised when a worker process ended, or closed its connection, without having been asked to."""


class WorkerProcess:
    """A started worker: `send` frames, iterate over `frames`. Made by `open_worker`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def send(self, frame: NodeFrame) -> None:
        """Queue a frame for the worker."""
        self._writer.write(encode(frame))

    async def frames(self) -> AsyncIterator[WorkerFrame]:
        """The worker's frames until it closes the connection."""
        while (payload := await read_frame(self._reader)) is not None:
            yield decode_worker_frame(payload)

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def exit_status(self) -> str:
        """Words for how the process ended; waits until it has."""
        code = await self._process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"

    async def close(self) -> None:
        """Ask the process to stop, kill it if it does not within seconds, and close the socket."""
        with contextlib.suppress(ConnectionError), anyio.move_on_after(GOODBYE_S, shield=True):
            self.send(Shutdown())
            await self._process.wait()
        self.kill()
        with anyio.CancelScope(shield=True):
            await self._process.wait()
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def open_worker(folder: Path, name: str, arguments: tuple[str, ...] = ()) -> AsyncIterator[WorkerProcess]:
    """Start a worker process and wait until it has connected and said who it is.

    Args:
        folder: the node's folder for sockets.
        name: name of the worker, for the socket's file.
        arguments: of its command line, beside the socket.

    Raises:
        WorkerGone: it ended before it connected, or said the wrong token.
    """
    token, path = secrets.token_hex(16), folder / f"{name}.sock"
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connected.done():
            writer.close()
        else:
            connected.set_result((reader, writer))

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(accept, path)
    path.chmod(0o600)
    try:
        process = await _start_process(path, token, arguments)
        try:
            reader, writer = await _first(connected, process)
        except BaseException:
            await _end(process)
            raise
    finally:
        server.close()
        path.unlink(missing_ok=True)
    worker = WorkerProcess(process, reader, writer)
    try:
        await _expect_hello(reader, token)
        yield worker
    finally:
        await worker.close()


async def _start_process(path: Path, token: str, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "aios_actors.engine.worker", "--socket", str(path), *arguments)
    environment = os.environ | worker_environment(os.environ) | {TOKEN_VARIABLE: token}
    return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, env=environment)


async def _first(
    connected: "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]", process: asyncio.subprocess.Process
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The connection, or WorkerGone if the process ends first."""
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait((connected, ended), return_when=asyncio.FIRST_COMPLETED)
        if connected.done():
            return connected.result()
        raise WorkerGone(
            f"the worker process ended with status {ended.result()} before it connected; see its log above"
        )
    finally:
        ended.cancel()


async def _expect_hello(reader: asyncio.StreamReader, token: str) -> None:
    payload = await read_frame(reader)
    hello = decode_worker_frame(payload) if payload is not None else None
    if not isinstance(hello, Hello) or not secrets.compare_digest(hello.token, token):
        raise WorkerGone("what connected to the worker's socket did not know the worker's token")


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with anyio.CancelScope(shield=True):
        await process.wait()
