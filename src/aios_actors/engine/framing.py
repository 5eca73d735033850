"""How the frames of the protocol travel.

Contract: a frame is a 4-byte big-endian length and that many bytes of msgpack, a tagged Struct. The transport is any
byte stream (a Unix socket today). `encode` makes a whole frame; `Unframer` cuts a stream back into payloads without
any I/O of its own; `read_frame` and `receive_frame` do it on an asyncio reader and on a blocking socket. A frame above
`MAX_FRAME` or one that does not decode raises `ProtocolError`: the connection is then of no more use.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from aios_actors.engine.protocol import NodeFrame, WorkerFrame

MAX_FRAME = 64 << 20
F = TypeVar("F")
_HEADER = struct.Struct(">I")
_NODE_FRAMES: msgspec.msgpack.Decoder[NodeFrame] = msgspec.msgpack.Decoder(NodeFrame)
_WORKER_FRAMES: msgspec.msgpack.Decoder[WorkerFrame] = msgspec.msgpack.Decoder(WorkerFrame)


class ProtocolError(Exception):
    """Raised when a peer sends bytes that are no frame of this protocol."""


def encode(frame: NodeFrame | WorkerFrame) -> bytes:
    """One whole frame, header included. Raises `ProtocolError` if it would be larger than `MAX_FRAME`."""
    payload = msgspec.msgpack.encode(frame)
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"a {type(frame).__name__} frame of {len(payload)} bytes is above the limit of {MAX_FRAME}")
    return _HEADER.pack(len(payload)) + payload


def decode_node_frame(payload: bytes) -> NodeFrame:
    """The frame that a node sent. Raises `ProtocolError` with the path of what is wrong."""
    return _decode(_NODE_FRAMES, payload, "node")


def decode_worker_frame(payload: bytes) -> WorkerFrame:
    """The frame that a worker sent. Raises `ProtocolError` with the path of what is wrong."""
    return _decode(_WORKER_FRAMES, payload, "worker")


def _decode(decoder: msgspec.msgpack.Decoder[F], payload: bytes, sender: str) -> F:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the {sender} sent a frame that does not decode: {error}") from error


def _checked_length(header: bytes) -> int:
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is above the limit of {MAX_FRAME}; this is no peer of ours")
    return int(length)


class Unframer:
    """Cuts a byte stream into payloads; keeps what is incomplete for the next `feed`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add `data` and yield every payload that is now complete. Raises `ProtocolError` for an absurd length."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            end = _HEADER.size + _checked_length(bytes(self._buffer[: _HEADER.size]))
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield payload


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next payload from an asyncio stream; None at the end of the stream, also one in the midst of a frame."""
    try:
        header = await reader.readexactly(_HEADER.size)
        return await reader.readexactly(_checked_length(header))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive_frame(connection: socket.socket) -> bytes | None:
    """The next payload from a blocking socket; None at the end of the stream, also one in the midst of a frame."""
    header = _receive_exactly(connection, _HEADER.size)
    return None if header is None else _receive_exactly(connection, _checked_length(header))


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            chunk = connection.recv(min(size - len(data), 1 << 20))
        except ConnectionError:
            return None
        if not chunk:
            return None
        data += chunk
    return bytes(data)
