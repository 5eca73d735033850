"""Asks a second of other Python actor libraries, for `scripts/bench/actors.py`.

Each function takes how many asks to make and returns (one asker at a time, many at once) in asks a second, or None
where a library has no such mode. Each asks an actor to return the number it is sent, in the fastest way the library
documents, inside of one process where it can. A library that is not installed raises ImportError.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Rates = tuple[float | None, float | None]
AT_ONCE = 64


def pykka_rates(count: int) -> Rates:
    """pykka: an actor is a thread; futures are pipelined."""
    import pykka

    class Echo(pykka.ThreadingActor):  # type: ignore[misc]
        def on_receive(self, message: Any) -> Any:
            return message

    ref = Echo.start()
    try:
        start = time.perf_counter()
        for n in range(count):
            ref.ask(n, timeout=30)
        one = count / (time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(count // AT_ONCE):
            for future in [ref.ask(n, block=False) for n in range(AT_ONCE)]:
                future.get(timeout=30)
        many = count // AT_ONCE * AT_ONCE / (time.perf_counter() - start)
    finally:
        ref.stop()
    return one, many


def thespian_rates(count: int) -> Rates:
    """thespian: its in-process base, which handles one ask at a time."""
    from thespian.actors import Actor, ActorSystem

    class Echo(Actor):  # type: ignore[misc]
        def receiveMessage(self, message: Any, sender: Any) -> None:
            if isinstance(message, int):
                self.send(sender, message)

    system = ActorSystem("simpleSystemBase")
    try:
        echo = system.createActor(Echo)
        start = time.perf_counter()
        for n in range(count):
            system.ask(echo, n, 30)
        return count / (time.perf_counter() - start), None
    finally:
        system.shutdown()


async def _rates(ask: Callable[[int], Awaitable[Any]], count: int) -> Rates:
    async def asker(share: int) -> None:
        for n in range(share):
            await ask(n)

    start = time.perf_counter()
    await asker(count)
    one = count / (time.perf_counter() - start)
    start = time.perf_counter()
    await asyncio.gather(*(asker(count // AT_ONCE) for _ in range(AT_ONCE)))
    return one, count // AT_ONCE * AT_ONCE / (time.perf_counter() - start)


def xoscar_rates(count: int) -> Rates:
    """xoscar: actor and asker in the main pool of one process."""
    import xoscar

    class Echo(xoscar.Actor):  # type: ignore[misc]
        async def echo(self, n: int) -> int:
            return n

    async def main() -> Rates:
        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        async with pool:
            ref = await xoscar.create_actor(Echo, address=pool.external_address, uid="echo")
            return await _rates(ref.echo, count)

    return asyncio.run(main())


def autogen_rates(count: int) -> Rates:
    """autogen-core: its single-threaded in-process runtime."""
    from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler

    @dataclass
    class Number:
        n: int

    class Echo(RoutedAgent):  # type: ignore[misc]
        @message_handler  # type: ignore[untyped-decorator]
        async def echo(self, message: Number, ctx: MessageContext) -> Number:
            return message

    # The library resolves the annotations in the module, where local classes are not found.
    globals().update(Number=Number, MessageContext=MessageContext)

    async def main() -> Rates:
        runtime = SingleThreadedAgentRuntime()
        await Echo.register(runtime, "echo", lambda: Echo("echo"))
        runtime.start()
        try:
            return await _rates(lambda n: runtime.send_message(Number(n=n), AgentId("echo", "1")), count)
        finally:
            await runtime.stop()

    return asyncio.run(main())


def ray_rates(count: int) -> Rates:
    """Ray: an actor is a process of its own."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:

        class Echo:
            def echo(self, n: int) -> int:
                return n

        echo = ray.remote(Echo).remote()
        ray.get(echo.echo.remote(0))
        start = time.perf_counter()
        for n in range(count):
            ray.get(echo.echo.remote(n))
        one = count / (time.perf_counter() - start)
        start = time.perf_counter()
        ray.get([echo.echo.remote(n) for n in range(count)])
        return one, count / (time.perf_counter() - start)
    finally:
        ray.shutdown()


# Name, rates, how many times as fast saturated asks are wanted to be, share of the asks that is enough for a peer so
# slow.
PEERS: tuple[tuple[str, Callable[[int], Rates], float, float], ...] = (
    ("pykka", pykka_rates, 4, 0.1),
    ("thespian", thespian_rates, 4, 0.1),
    ("xoscar", xoscar_rates, 15, 0.1),
    ("autogen-core", autogen_rates, 50, 0.05),
    ("ray", ray_rates, 50, 0.05),
)
