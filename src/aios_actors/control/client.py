"""The client's side: finds the node of a data folder, and gives it one order."""

from pathlib import Path

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from aios_actors.control.messages import ADDRESS_FILE, MOST_BYTES, Address, Answer, Done, Order
from aios_actors.observe.state import NodeState


class NoNode(Exception):
    """Raised when no node runs with a data folder."""


class OrderRefused(Exception):
    """Raised when the node does not carry an order out; the message is its reason."""


async def order(data: Path, wanted: Order) -> NodeState | None:
    """Gives an order to the node that runs with a data folder.

    Args:
        data: the node's data folder.
        wanted: the order.

    Returns:
        The node's state for `Ps`, else None.

    Raises:
        NoNode: none runs there, or it ended meanwhile.
        OrderRefused: it runs, and does not carry it out.
    """
    try:
        address = msgspec.json.decode((data / ADDRESS_FILE).read_bytes(), type=Address)
        async with await anyio.connect_unix(address.socket) as stream:
            await stream.send(msgspec.json.encode(wanted) + b"\n")
            line = await BufferedByteReceiveStream(stream).receive_until(b"\n", MOST_BYTES)
    except (OSError, msgspec.DecodeError, anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
        hint = "start one with aios-actors run --serve, or name its folder with --data"
        raise NoNode(f"no node runs with the data folder {data}; {hint}") from error
    answer = msgspec.json.decode(line, type=Answer)
    if isinstance(answer, Done):
        return answer.state
    raise OrderRefused(answer.error)
