"""The node's side: takes orders on a Unix socket that only the node's own user can open."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import anyio
import msgspec
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from aios_actors.actors import Refusal
from aios_actors.control.messages import (
    ADDRESS_FILE,
    MOST_BYTES,
    Address,
    Answer,
    Done,
    Kill,
    Order,
    Pause,
    Ps,
    Refused,
    Resume,
    SetPolicy,
)
from aios_actors.observe.state import NodeState

_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Steered(Protocol):
    """What is asked of a node; see `aios_actors.node.Node`."""

    async def ps(self) -> NodeState: ...
    async def pause(self, agent: str = "") -> None: ...
    async def resume(self, agent: str = "") -> None: ...
    async def kill(self, agent: str = "") -> None: ...
    async def set_policy(self, model: str, policy: str) -> None: ...


@asynccontextmanager
async def control(node: Steered, data: Path) -> AsyncIterator[None]:
    """Takes orders for `node` while it is entered; `data`, the node's folder, has the address meanwhile."""
    folder = tempfile.mkdtemp(prefix="aios-control-")
    address = data / ADDRESS_FILE
    failure: Exception | None = None
    try:
        listener = await anyio.create_unix_listener(f"{folder}/socket", mode=0o600)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, lambda stream: _serve(node, stream))
            address.write_bytes(msgspec.json.encode(Address(os.getpid(), f"{folder}/socket")))
            try:
                yield
            except Exception as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure  # as it was: out of the task group it would come in an ExceptionGroup
    finally:
        address.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(node: Steered, stream: SocketStream) -> None:
    """Answers the orders of one client, one after the other."""
    async with stream:
        lines = BufferedByteReceiveStream(stream)
        try:
            while True:
                answer = await _carry_out(node, await lines.receive_until(b"\n", MOST_BYTES))
                await stream.send(msgspec.json.encode(answer) + b"\n")
        except (*_GONE, anyio.DelimiterNotFound):
            return


async def _carry_out(node: Steered, line: bytes) -> Answer:
    try:
        match msgspec.json.decode(line, type=Order):
            case Ps():
                return Done(await node.ps())
            case Pause(agent):
                await node.pause(agent)
            case Resume(agent):
                await node.resume(agent)
            case Kill(agent):
                await node.kill(agent)
            case SetPolicy(model, policy):
                await node.set_policy(model, policy)
    except (Refusal, msgspec.DecodeError) as error:
        return Refused(str(error))
    return Done()
