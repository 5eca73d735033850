"""Orders from outside reach a node, come back with its reason when it refuses, and find nobody when it has ended."""

import os
import stat
from pathlib import Path

import anyio
import msgspec
import pytest

from aios_actors.control import Kill, NoNode, OrderRefused, Pause, Ps, Resume, SetPolicy, control, order
from aios_actors.control.messages import ADDRESS_FILE, Address, Answer, Refused
from aios_actors.observe.state import AgentTotals, NodeState
from aios_actors.syscalls.errors import NotFound


class Recorder:
    """A node that keeps what it is asked; it knows one agent."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    async def ps(self) -> NodeState:
        return NodeState((AgentTotals("clerk", tasks=3),))

    async def pause(self, agent: str = "") -> None:
        await self._note("pause", agent)

    async def resume(self, agent: str = "") -> None:
        await self._note("resume", agent)

    async def kill(self, agent: str = "") -> None:
        await self._note("kill", agent)

    async def set_policy(self, model: str, policy: str) -> None:
        self.told.append(("policy", model, policy))

    async def _note(self, what: str, agent: str) -> None:
        if agent not in ("", "clerk"):
            raise NotFound(f'no agent named "{agent}"')
        self.told.append((what, agent))


async def test_each_order_reaches_the_node(tmp_path: Path) -> None:
    node = Recorder()
    async with control(node, tmp_path):
        for wanted in (Pause("clerk"), Resume("clerk"), Kill(), SetPolicy("nano", "fair")):
            assert await order(tmp_path, wanted) is None
        assert await order(tmp_path, Ps()) == await node.ps()
    assert node.told == [("pause", "clerk"), ("resume", "clerk"), ("kill", ""), ("policy", "nano", "fair")]


async def test_a_refusal_comes_with_the_nodes_reason(tmp_path: Path) -> None:
    async with control(Recorder(), tmp_path):
        with pytest.raises(OrderRefused, match='no agent named "clark"'):
            await order(tmp_path, Pause("clark"))


async def test_without_a_node_the_error_names_folder_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoNode, match=r"no node runs with the data folder .*; start one with aios-actors run --serve"):
        await order(tmp_path, Ps())
    async with control(Recorder(), tmp_path):
        left = (tmp_path / ADDRESS_FILE).read_bytes()
    assert not list(tmp_path.iterdir())
    (tmp_path / ADDRESS_FILE).write_bytes(left)  # as a node that was killed leaves it
    with pytest.raises(NoNode):
        await order(tmp_path, Ps())


async def test_a_line_that_is_no_order_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    async with control(Recorder(), tmp_path):
        address = msgspec.json.decode((tmp_path / ADDRESS_FILE).read_bytes(), type=Address)
        async with await anyio.connect_unix(address.socket) as stream:
            for line in (b"{}\n", b'{"type": "explode"}\n', b"\xff\n"):
                await stream.send(line)
                assert isinstance(msgspec.json.decode(await stream.receive(), type=Answer), Refused)
            await stream.send(b"half a line")
        assert await order(tmp_path, Ps()) is not None


async def test_only_the_nodes_own_user_can_connect(tmp_path: Path) -> None:
    async with control(Recorder(), tmp_path):
        address = msgspec.json.decode((tmp_path / ADDRESS_FILE).read_bytes(), type=Address)
        assert address.pid == os.getpid()
        assert stat.S_IMODE(os.stat(address.socket).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(Path(address.socket).parent).st_mode) == 0o700


async def test_an_error_of_the_node_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such run"):
        async with control(Recorder(), tmp_path):
            raise NotFound("no such run")
    assert not list(tmp_path.iterdir())
