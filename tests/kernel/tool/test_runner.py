"""The runner: threads and tasks, time limits, parallel limits, and what becomes of exceptions."""

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aios_actors.config.structs import ToolLimits
from aios_actors.kernel.tool.runner import ToolRunner
from aios_actors.sdk.tool import tool
from aios_actors.syscalls.errors import InvalidArgument, ToolFailed, ToolTimeout


def runner(function: Callable[..., Any], timeout: float = 30.0, parallel: int = 16) -> ToolRunner:
    function.__doc__ = "A tool."
    return ToolRunner(tool(function), ToolLimits(timeout_s=timeout, parallel=parallel))


async def until(condition: Callable[[], bool]) -> None:
    """Gives way to other tasks and threads until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def no_tool_thread() -> bool:
    return not any(thread.name.startswith("tool-") for thread in threading.enumerate())


async def test_a_plain_function_runs_in_a_thread_that_ends() -> None:
    run = runner(lambda_like := _thread_name)
    assert await run.call({}) == f"tool-{lambda_like.__name__}"
    await until(no_tool_thread)
    assert run.slots.running == 0


def _thread_name() -> str:
    return threading.current_thread().name


async def test_an_async_function_runs_on_the_loop() -> None:
    async def loop_id() -> int:
        return id(asyncio.get_running_loop())

    assert await runner(loop_id).call({}) == id(asyncio.get_running_loop())


async def test_a_thread_knows_the_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("known")

    def read() -> str:
        return variable.get()

    assert await runner(read).call({}) == "known"


async def test_exceptions_become_tool_failed() -> None:
    def plain() -> None:
        raise KeyError("gone")

    async def coroutine() -> None:
        raise ValueError("wrong")

    def stops() -> None:
        raise StopIteration("x")

    def leaves() -> None:
        raise SystemExit(3)

    async def leaves_too() -> None:
        raise SystemExit(3)

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    for function, message in (
        (plain, """tool "plain" raised KeyError: 'gone'"""),
        (coroutine, 'tool "coroutine" raised ValueError: wrong'),
        (stops, 'tool "stops" raised RuntimeError: StopIteration: x'),
        (leaves, 'tool "leaves" raised SystemExit: 3'),
        (leaves_too, 'tool "leaves_too" raised RuntimeError: SystemExit: 3'),
        (cancels_itself, 'tool "cancels_itself" was cancelled by its own code'),
    ):
        run = runner(function)
        with pytest.raises(ToolFailed) as error:
            await run.call({})
        assert str(error.value) == message
        assert run.slots.running == 0


async def test_a_syscall_error_passes_as_it_is() -> None:
    def refuse() -> None:
        raise InvalidArgument("division by zero")

    with pytest.raises(InvalidArgument, match="^division by zero$"):
        await runner(refuse).call({})


async def test_a_result_without_json_form_is_a_failure() -> None:
    def odd() -> object:
        return object()

    def broken() -> str:
        return "\ud800"

    with pytest.raises(ToolFailed, match='tool "odd" returned a object that has no JSON form'):
        await runner(odd).call({})
    with pytest.raises(ToolFailed, match='tool "broken" returned a str that has no JSON form'):
        await runner(broken).call({})


async def test_plain_results_come_as_they_are() -> None:
    async def echo(value: Any) -> Any:
        return value

    run = runner(echo)
    for value in ("text", 10**400, 2.5, True, None, {"a": [1]}):
        assert await run.call({"value": value}) == value


async def test_a_thread_past_its_time_keeps_its_slot_until_it_ends() -> None:
    release = threading.Event()

    def slow() -> str:
        release.wait()
        return "late"

    run = runner(slow, timeout=0.01, parallel=1)
    with pytest.raises(ToolTimeout, match=r'tool "slow" did not end within 0.01 s'):
        await run.call({})
    assert (run.slots.running, run.slots.hanging) == (1, 1)
    with pytest.raises(ToolTimeout, match='tool "slow" hangs'):
        await run.call({})
    release.set()
    await until(lambda: run.slots.hanging == 0)
    assert run.slots.running == 0
    await until(no_tool_thread)


HANGING = """
import asyncio, threading
from aios_actors.config.structs import ToolLimits
from aios_actors.kernel.tool.runner import ToolRunner
from aios_actors.sdk.tool import tool
from aios_actors.syscalls.errors import ToolTimeout

@tool
def hang() -> None:
    "Never ends."
    threading.Event().wait()

async def main():
    try:
        await ToolRunner(hang, ToolLimits(timeout_s=0.01)).call({})
    except ToolTimeout:
        print("timeout")

asyncio.run(main())
"""


def test_a_hanging_tool_does_not_keep_the_process_from_ending() -> None:
    environment = {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    done = subprocess.run([sys.executable, "-c", HANGING], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"timeout\n"
    assert done.stderr == b""


async def test_a_thread_that_fails_late_disturbs_nobody() -> None:
    release = threading.Event()

    def slow() -> None:
        release.wait()
        raise ValueError("late")

    run = runner(slow, timeout=0.01)
    with pytest.raises(ToolTimeout):
        await run.call({})
    release.set()
    await until(lambda: run.slots.running == 0)


async def test_a_task_past_its_time_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    run = runner(slow, timeout=0.01, parallel=1)
    for _ in range(2):
        cancelled.clear()
        with pytest.raises(ToolTimeout):
            await run.call({})
        await cancelled.wait()
    await until(lambda: run.slots.running == 0)


async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_caller() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    run = runner(stubborn, timeout=0.01, parallel=1)
    with pytest.raises(ToolTimeout):
        await run.call({})
    assert run.slots.running == 1
    release.set()
    await until(lambda: run.slots.running == 0)


async def test_no_more_than_the_limit_run_at_once() -> None:
    running, most = 0, 0
    gate = asyncio.Event()

    async def busy() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    run = runner(busy, parallel=3)
    calls = [asyncio.create_task(run.call({})) for _ in range(10)]
    await until(lambda: running == 3 and "waiting=7" in repr(run.slots))
    calls[9].cancel()
    gate.set()
    await asyncio.gather(*calls[:9])
    assert most == 3
    assert run.slots.running == 0


async def test_threads_obey_the_limit_too() -> None:
    inside, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def busy() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        both.wait(timeout=10)
        with lock:
            inside -= 1

    run = runner(busy, parallel=2)
    await asyncio.gather(*(run.call({}) for _ in range(8)))
    assert most == 2


async def test_a_cancelled_caller_ends_the_task() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    run = runner(slow)
    call = asyncio.create_task(run.call({}))
    await began.wait()
    call.cancel()
    await ended.wait()
    await until(lambda: run.slots.running == 0)


async def test_what_the_config_leaves_open_is_as_the_tool_says() -> None:
    @tool(timeout=0.01, parallel=3)
    async def hang() -> str:
        """Never ends."""
        await asyncio.Event().wait()
        return ""

    open_runner = ToolRunner(hang, ToolLimits())
    with pytest.raises(ToolTimeout, match=r"0\.01 s"):
        await open_runner.call({})
    assert "/3 " in repr(open_runner.slots)
