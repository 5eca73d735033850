"""How fast the actor runtime is, in one run beside a floor and beside other libraries.

    python -m scripts.bench.actors [--quick] [--json]

The floor is what asyncio itself costs: a bare deque with one waiter future for the reader and one future a reply, with
the same messages and none of the promises. Each figure is the best of several rounds, in which all candidates take
turns. Rates of what runs in one thread and never waits are by CPU time, which a busy machine disturbs less; single
asks, and all beside peers, which have threads or processes, are by wall time. Every ask has a deadline. Peers that
are not installed are skipped with a word.
"""

import argparse
import asyncio
import gc
import resource
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio

from aios_actors.actors import Actor, ActorRef, ActorSystem, Message, handler
from scripts.bench.actor_peers import AT_ONCE, PEERS
from scripts.bench.report import Row, add_arguments, report

Rate = Callable[[int, int], Coroutine[Any, Any, float]]


class Echo(Message[int], frozen=True):
    n: int


class Server(Actor):
    """Returns what it is sent; the handler is plain, as fast ones are."""

    @handler
    def echo(self, message: Echo) -> int:
        return message.n


class AsyncServer(Actor):
    """The same with an async handler."""

    @handler
    async def echo(self, message: Echo) -> int:
        return message.n


async def _askers(ask: Callable[[int], Awaitable[Any]], askers: int, count: int, clock: Callable[[], float]) -> float:
    async def asker() -> None:
        for n in range(count // askers):
            await ask(n)

    gc.collect()
    start = clock()
    await asyncio.gather(*(asker() for _ in range(askers)))
    return count / (clock() - start)


async def floor(askers: int, count: int) -> float:
    """Asks a second of a bare deque with one waiter future."""
    loop = asyncio.get_running_loop()
    queue: deque[tuple[Echo, asyncio.Future[int]]] = deque()
    waiter: asyncio.Future[None] | None = None

    async def serve() -> None:
        nonlocal waiter
        while True:
            while queue:
                message, reply = queue.popleft()
                reply.set_result(message.n)
            waiter = loop.create_future()
            await waiter

    async def asker() -> None:
        nonlocal waiter
        for n in range(count // askers):
            reply: asyncio.Future[int] = loop.create_future()
            queue.append((Echo(n), reply))
            if waiter is not None:
                waiting, waiter = waiter, None
                waiting.set_result(None)
            await reply

    server = asyncio.create_task(serve())
    await asyncio.sleep(0)
    gc.collect()
    start = time.process_time()
    await asyncio.gather(*(asker() for _ in range(askers)))
    rate = count / (time.process_time() - start)
    server.cancel()
    return rate


async def streams(askers: int, count: int) -> float:
    """Asks a second through anyio memory streams: one for requests, one for each asker's replies."""
    send, receive = anyio.create_memory_object_stream[tuple[Echo, Any]](1024)

    async def serve() -> None:
        async for message, reply in receive:
            await reply.send(message.n)

    count //= 5  # slow, and steady enough

    async def asker() -> None:
        reply_send, reply_receive = anyio.create_memory_object_stream[int](1)
        with reply_send, reply_receive:
            for n in range(count // askers):
                await send.send((Echo(n), reply_send))
                await reply_receive.receive()

    server = asyncio.create_task(serve())
    start = time.process_time()
    await asyncio.gather(*(asker() for _ in range(askers)))
    rate = count / (time.process_time() - start)
    send.close()
    await server
    receive.close()
    return rate


def runtime(actor: type[Actor], clock: Callable[[], float] = time.process_time) -> Rate:
    """Asks a second of an actor, by `clock`."""

    async def rate(askers: int, count: int) -> float:
        async with ActorSystem("bench") as system:
            ref = await system.spawn(actor)
            return await _askers(lambda n: ref.ask(Echo(n), 30.0), askers, count, clock)

    return rate


async def tells(count: int) -> float:
    """Tells a second, from first to handled last, in bursts that fit the mailbox."""
    async with ActorSystem("bench") as system:
        ref = await system.spawn(Server)
        start = time.process_time()
        for _ in range(count // 1000):
            for n in range(999):
                ref.tell(Echo(n))
            await ref.ask(Echo(0))
        return count / (time.process_time() - start)


async def latencies(count: int) -> list[float]:
    """Seconds that each ask of one asker took, sorted."""
    async with ActorSystem("bench") as system:
        ref = await system.spawn(Server)
        taken = []
        for n in range(count):
            start = time.perf_counter()
            await ref.ask(Echo(n), 30.0)
            taken.append(time.perf_counter() - start)
        return sorted(taken)


async def spawn_and_stop(count: int) -> float:
    """CPU seconds to spawn and gracefully stop `count` actors."""
    async with ActorSystem("bench") as system:
        start = time.process_time()
        refs = [await system.spawn(Server) for _ in range(count)]
        for ref in refs:
            ref.stop()
        for ref in refs:
            await ref.join()
        return time.process_time() - start


async def bytes_each(count: int) -> float:
    """Peak resident bytes for each of `count` idle actors, refs held."""
    async with ActorSystem("bench", drain_s=0) as system:
        before = _peak()
        refs: list[ActorRef] = [await system.spawn(Server) for _ in range(count)]
        return (_peak() - before) / len(refs)


def _peak() -> int:
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def best(candidates: dict[str, Rate], askers: int, count: int, rounds: int) -> dict[str, float]:
    """The best rate of each candidate over `rounds`, in which they take turns."""
    rates = dict.fromkeys(candidates, 0.0)
    for _ in range(rounds):
        for name, rate in candidates.items():
            rates[name] = max(rates[name], await rate(askers, count))
    return rates


async def measure(loop: str, count: int, rounds: int) -> list[Row]:
    """The rows of one event loop."""
    candidates: dict[str, Rate] = {
        "floor": floor, "actor": runtime(Server), "async actor": runtime(AsyncServer), "anyio stream": streams,
    }  # fmt: skip
    rows: list[Row] = []
    for askers, wanted in ((1, 0.5), (AT_ONCE, 0.4)):
        share = count // 3 if askers == 1 else count
        rates = await best(candidates, askers, share, rounds)
        label = "1 asker" if askers == 1 else f"{askers} askers"
        rows += [Row(f"{loop}, {label}: {name}", rate, "asks/s") for name, rate in rates.items()]
        for name in ("actor", "async actor"):
            ratio = rates[name] / rates["floor"]
            held = wanted if name == "actor" else None
            ok = None if held is None else ratio >= held
            rows.append(Row(f"{loop}, {label}: {name}", ratio, "ratio", "floor", held, ok))
        rows.append(Row(f"{loop}, {label}: actor", rates["actor"] / rates["anyio stream"], "ratio", "anyio stream"))
    rows.append(Row(f"{loop}: tells", max([await tells(count) for _ in range(rounds)]), "tells/s"))
    taken = await latencies(count // 3)
    rows.append(Row(f"{loop}: ask, p50", taken[len(taken) // 2] * 1e6, "us"))
    rows.append(Row(f"{loop}: ask, p99", taken[len(taken) * 99 // 100] * 1e6, "us"))
    seconds = min([await spawn_and_stop(10_000) for _ in range(rounds)])
    rows.append(Row(f"{loop}: 10,000 spawned and stopped", seconds, "s", "", 1.0, seconds < 1.0))
    return rows


def peers(count: int, rounds: int) -> list[Row]:
    """Rows that compare with other libraries, each in turns with the actor; what is missing is said on stderr."""
    rows = []
    for name, rates, wanted, share in PEERS:
        ours = one = many = 0.0
        try:
            for _ in range(rounds):
                measured = rates(max(AT_ONCE, int(count * share)))
                one, many = max(one, measured[0] or 0.0), max(many, measured[1] or 0.0)
                ours = max(ours, asyncio.run(runtime(Server, time.perf_counter)(AT_ONCE, count)))
        except ImportError as error:
            print(f"{name}: skipped, {error}", file=sys.stderr)
            continue
        rows += [Row(f"{name}, 1 asker", one, "asks/s"), Row(f"{name}, saturated", many or one, "asks/s")]
        ratio = ours / max(one, many)
        rows.append(Row("asyncio, saturated: actor", ratio, "ratio", name, wanted, ratio >= wanted))
    return rows


def main() -> None:
    """Runs all and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args()
    idle, count, rounds = (20_000, 20_000, 3) if options.quick else (100_000, 100_000, 7)
    # First, while the peak of memory is still that of the bare interpreter.
    each = asyncio.run(bytes_each(idle))
    rows = [Row(f"idle actor, of {idle:,}", each, "bytes", "", 4000.0, each < 4000.0)]
    rows += asyncio.run(measure("asyncio", count, rounds))
    try:
        import uvloop
    except ImportError as error:
        print(f"uvloop: skipped, {error}", file=sys.stderr)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows += runner.run(measure("uvloop", count, rounds))
    report("actors", rows + peers(count, min(rounds, 3)), options)


if __name__ == "__main__":
    main()
