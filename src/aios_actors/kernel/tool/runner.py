"""Runs the functions of tools: in threads or on the loop, with a time limit and a limit on parallel calls.

Contract: `call` ends in a value that a model can be shown, or in a SyscallError; it never waits for a function longer
than its limit, which counts from the start and not from the queue. A plain function gets a daemon thread for each call
(160 us, 2 cores, Python 3.11; an executor's idle threads would outlive the node, and one that hangs would keep the
process from ending). An async function runs as a task, and is cancelled when its time is over or its caller gives up.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from aios_actors.config.structs import ToolLimits
from aios_actors.kernel.tool.slots import Slots
from aios_actors.sdk.tool import Tool
from aios_actors.syscalls.errors import SyscallError, ToolFailed, ToolTimeout

log = structlog.get_logger(__name__)

FADING = 0.8
"""Weight of what was known before in the expected time of a call, so that it follows the last few."""

_PLAIN = (int, float, bool, type(None))


class ToolRunner:
    """Runs the calls of one tool."""

    def __init__(self, tool: Tool[..., Any], limits: ToolLimits) -> None:
        """`limits`: the config's; what they leave open is as the tool says."""
        self._tool = tool
        self._timeout_s = limits.timeout_s or tool.timeout_s
        self.slots = Slots(tool.name, limits.parallel or tool.parallel)
        self.expected_s: float | None = None

    def observe(self, seconds: float) -> None:
        """A call took this long, its wait for a slot included; `expected_s` is the mean of such, fading."""
        before = seconds if self.expected_s is None else self.expected_s
        self.expected_s = FADING * before + (1.0 - FADING) * seconds

    async def call(self, arguments: dict[str, Any]) -> Any:
        """Runs the function once.

        Args:
            arguments: as `Tool.bind` returned them.

        Raises:
            ToolTimeout: it did not end in time, or earlier calls hang in all slots.
            ToolFailed: it raised an exception, or returned what cannot be shown to a model.
            SyscallError: it raised this.
        """
        await self.slots.take()
        work = self._start(arguments)
        try:
            await asyncio.wait([work], timeout=self._timeout_s)
            if not work.done():
                raise ToolTimeout(f'tool "{self._tool.name}" did not end within {self._timeout_s:g} s')
            return self._result(work)
        finally:
            self._release(work)

    def _start(self, arguments: dict[str, Any]) -> asyncio.Future[Any]:
        if self._tool.is_async:
            return asyncio.ensure_future(_without_exit(self._tool.function, arguments))
        return _in_thread(lambda: self._tool.function(**arguments), f"tool-{self._tool.name}")

    def _release(self, work: asyncio.Future[Any]) -> None:
        """Frees the slot as soon as the work has really ended."""
        if work.done():
            self.slots.give()
            return
        free = self.slots.give if self._tool.is_async else self.slots.unhang

        def ended(work: asyncio.Future[Any]) -> None:
            if not work.cancelled() and (error := work.exception()):
                log.info("tool failed after its caller had gone", tool=self._tool.name, exc_info=error)
            free()

        work.add_done_callback(ended)
        if self._tool.is_async:
            work.cancel()
        else:
            self.slots.hang()

    def _result(self, work: asyncio.Future[Any]) -> Any:
        name = self._tool.name
        if work.cancelled():
            raise ToolFailed(f'tool "{name}" was cancelled by its own code')
        error = work.exception()
        if isinstance(error, SyscallError):
            raise error
        if error is not None:
            log.info("tool failed", tool=name, exc_info=error)
            raise ToolFailed(f'tool "{name}" raised {type(error).__name__}: {error}') from error
        value = work.result()
        return value if type(value) in _PLAIN else self._checked(value)

    def _checked(self, value: Any) -> Any:
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ToolFailed(
                f'tool "{self._tool.name}" returned a {type(value).__name__} that has no JSON form ({error}); '
                "return text, numbers, lists, dicts, Structs or dataclasses"
            ) from error
        return value


async def _without_exit(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Calls an async function; SystemExit, which would end the event loop, becomes an ordinary error."""
    try:
        return await function(**arguments)
    except SystemExit as error:
        raise RuntimeError(f"SystemExit: {error}") from error


def _in_thread(function: Callable[[], Any], name: str) -> asyncio.Future[Any]:
    """Runs a function in a thread of its own; the future gets its result. The thread knows the caller's context."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if error is None:
            future.set_result(value)
        elif isinstance(error, StopIteration):  # which no future takes
            future.set_exception(RuntimeError(f"StopIteration: {error}"))
        else:
            future.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = context.run(function)
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            log.info("tool ended after the node", thread=name)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
