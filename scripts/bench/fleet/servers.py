"""Starts the servers that a fleet is compared with: llama-server in several settings, and llama-cpp-python's example.

Each runs on a free port of this machine, with the same weights, threads and total KV cache as our engine, and is ended
with its context. llama-server keeps its own defaults (continuous batching, prompt cache in host memory) and is tried
with its default slots, with a slot for each agent, and with those in one unified cache, each with flash attention on
and off, once with the types of KV that our engine uses, and some with what else ours does by a switch: weights that are
read and not mapped, memory in huge pages, threads that spin briefly. So nobody wins by what users could turn on.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import anyio
from anyio.abc import Process
from msgspec import Struct

from aios_actors.engine.environment import BRIEF_SPINS, HUGE_PAGES
from aios_actors.engine.spec import ModelInfo
from scripts.bench.choice import READ_WEIGHTS, llama_cpp_flags
from scripts.bench.fleet.endpoint import Endpoint, EndpointError, Request, Side
from scripts.bench.fleet.http_endpoint import HttpEndpoint, Tokenize
from scripts.bench.fleet.load import Fleet

START_S = 300.0
WARM_UP = tuple(range(300, 316))
MOST_SLOTS = 256
"""llama-server refuses more."""


class Setup(Struct, frozen=True):
    """What both sides have in common.

    Attributes:
        model: the GGUF.
        threads: CPU threads.
        gpu_layers: layers on the GPU; -1 for all.
        info: what our engine says of the model; its types of KV are tried in llama-server too.
        tokenize: ids of a text.
    """

    model: Path
    threads: int
    gpu_layers: int
    info: ModelInfo
    tokenize: Tokenize


def llama_server_sides(program: Path, setup: Setup, fleet: Fleet, wanted: Sequence[str]) -> Iterator[Side]:
    """llama-server in each setting whose name is `wanted`; all of them if none is."""
    places = fleet.places or fleet.agents
    cells = str(places * fleet.context)
    slots = str(min(places, MOST_SLOTS))
    crowd = str(min(fleet.agents, MOST_SLOTS))
    settings: dict[str, list[str]] = {}
    environment: dict[str, Mapping[str, str]] = {}
    for flash in ("on", "off"):
        settings[f"default-fa-{flash}"] = ["-fa", flash]
        settings[f"np-fa-{flash}"] = ["-fa", flash, "-np", slots]
        settings[f"kvu-fa-{flash}"] = ["-fa", flash, "-np", crowd, "-kvu"]
    ours = ["-ctk", setup.info.kv_type_k, "-ctv", setup.info.kv_type_v]
    settings["np-fa-off-our-kv"] = ["-fa", "off", "-np", slots, *ours]
    for name in ("default-fa-on", "np-fa-off", "np-fa-off-our-kv"):
        settings[f"{name}-tuned"] = [*settings[name], *READ_WEIGHTS]
        environment[f"{name}-tuned"] = HUGE_PAGES | BRIEF_SPINS
    common = llama_cpp_flags(setup.model, setup.threads, setup.gpu_layers)
    for name, options in settings.items():
        if not wanted or name in wanted:
            command = [str(program), *common, "-c", cells, *options]
            start = started(command, setup, environment=environment.get(name, {}))
            yield Side("llama-server", f"llama-server {name}", start)


def python_server_side(program: Path, setup: Setup, fleet: Fleet) -> Side:
    """The server example of llama-cpp-python, with a sequence for each agent and two to spare."""
    return Side("python-server", "llama-cpp-python's server", _python_server(program, setup, fleet))


@contextlib.asynccontextmanager
async def _python_server(program: Path, setup: Setup, fleet: Fleet) -> AsyncIterator[Endpoint]:
    port = free_port()
    places = fleet.places or fleet.agents
    model = {
        "path": str(setup.model),
        "n_ctx": places * fleet.context,
        "n_seq_max": min(fleet.agents + 2, MOST_SLOTS),
        "n_gpu_layers": setup.gpu_layers,
        "threads": setup.threads,
        "threads_batch": setup.threads,
        "kv_unified": True,
        "max_output_tokens": fleet.context,
    }
    with tempfile.TemporaryDirectory() as folder:
        config = anyio.Path(folder, "config.json")
        await config.write_text(json.dumps({"server": {"host": "127.0.0.1", "port": port}, "model": model}))
        async with started([sys.executable, str(program), "-C", str(config)], setup, port=port) as endpoint:
            yield endpoint


@contextlib.asynccontextmanager
async def reached(url: str, setup: Setup) -> AsyncIterator[Endpoint]:
    """A server that someone else runs."""
    endpoint = HttpEndpoint(url, setup.tokenize, eog=setup.info.eog_tokens)
    await endpoint.connect()
    yield endpoint


@contextlib.asynccontextmanager
async def started(
    command: list[str], setup: Setup, *, port: int = 0, environment: Mapping[str, str] = {}
) -> AsyncIterator[Endpoint]:
    """Runs a server until the context is left. Raises EndpointError if it ends, or serves nothing in time.

    Args:
        command: its command line, without host and port unless `port` tells which one it will take.
        setup: what both sides have in common.
        port: where it will listen; 0 chooses one and appends `--host` and `--port`.
        environment: variables beside those of this process.
    """
    if not port:
        port = free_port()
        command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment}
        )
        endpoint = HttpEndpoint(f"http://127.0.0.1:{port}", setup.tokenize, eog=setup.info.eog_tokens, pid=process.pid)
        try:
            if not await _answers(endpoint, process):
                log.seek(0)
                last = log.read().decode(errors="replace").strip().splitlines()[-3:]
                raise EndpointError(f"{Path(command[0]).name} did not start: {' | '.join(last)}")
            yield endpoint
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def _answers(endpoint: HttpEndpoint, process: Process) -> bool:
    """Waits until a completion comes back; False if the process ends first, or it takes too long."""
    with anyio.move_on_after(START_S):
        while process.returncode is None:
            # A server of another project offers nothing better than to be asked until it answers.
            try:
                await endpoint.connect()
                await endpoint.complete(Request("warm-up", WARM_UP, 1))
                return True
            except EndpointError:
                await anyio.sleep(0.2)
    return False


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        with anyio.move_on_after(10):
            await process.wait()
            return
        process.kill()
        await process.wait()


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
