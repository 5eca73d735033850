"""A worker that dies or hangs, idle, in prefill or while it moves KV to disk, costs no request and no context, and
leaves nothing behind. While it decodes: `test_core.py`."""

import os
import signal
import sys
from pathlib import Path

import pytest

from aios_actors.engine.messages import Sampling, TextPrompt
from aios_actors.kernel.llm_core import AwaitReady, ListWorkers
from tests.kernel.llm_core.test_core import gone, running_core

ANSWER = Sampling(max_tokens=12, ignore_eos=True)
# Python imports this module at the start of each process: the first page that a worker writes to disk is its last act.
ENDS_AT_ITS_FIRST_PAGE = """
import os, pathlib, sys
if "aios_actors.engine.worker" in sys.orig_argv:
    write = os.pwritev
    def pwritev(*arguments):
        mark = pathlib.Path({mark!r})
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), {number})
        return write(*arguments)
    os.pwritev = pwritev
"""


def prompt(name: str) -> TextPrompt:
    return TextPrompt(f"The agent {name} says what it knows of {name}. " * 12)


def open_files() -> set[str]:
    """What this process has open, apart from what libraries keep for ever."""
    links = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            links.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return links


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_ends_or_hangs_while_paging_out_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    hooks, folder, sockets = tmp_path / "hooks", tmp_path / "pages", tmp_path / "sockets"
    hooks.mkdir()
    sockets.mkdir()
    mark = tmp_path / "ended"
    (hooks / "sitecustomize.py").write_text(ENDS_AT_ITS_FIRST_PAGE.format(mark=str(mark), number=int(number)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hooks), os.environ.get("PYTHONPATH", "")]))
    before = open_files()
    settings = {"sequences": 1, "context": 512, "host_memory": 1_000_000, "disk_folder": str(folder)}
    async with running_core(sockets, hang_s=1.0, **settings) as core:
        await core.ref.ask(AwaitReady())
        pid = await core.pid()
        said: dict[str, tuple[int, ...]] = {}
        outcomes = []
        for turn, name in enumerate(["ann", "ben", "cid", "dee", "eva", "ann", "ben", "cid", "dee", "eva"]):
            outcome = await core.generate(id=turn, prompt=prompt(name), sampling=ANSWER, conversation=name)
            outcomes.append(outcome.finish)
            if outcome.finish == "lost":
                while (await core.said.get()).places == 0 or await core.pid() in (0, pid):
                    pass
                outcome = await core.generate(id=100 + turn, prompt=prompt(name), sampling=ANSWER, conversation=name)
            assert said.setdefault(name, outcome.generated) == outcome.generated, "the same answer as before"
            assert len(outcome.generated) == 12
        assert mark.exists() and outcomes.count("lost") == 1
        assert gone(pid) and await core.pid() != pid
    assert list(folder.iterdir()) == [] and list(sockets.iterdir()) == []
    assert open_files() <= before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_ends_or_hangs_while_idle_is_replaced(tmp_path: Path, number: signal.Signals) -> None:
    before = open_files()
    async with running_core(tmp_path, hang_s=1.0) as core:
        await core.ref.ask(AwaitReady())
        pid = await core.pid()
        first = await core.generate(id=1, prompt=prompt("ann"), sampling=ANSWER, conversation="ann")
        os.kill(pid, number)
        assert [(await core.said.get()).places for _ in range(3)] == [4, 0, 4]
        again = await core.generate(id=2, prompt=prompt("ann"), sampling=ANSWER, conversation="ann")
        assert again.generated == first.generated
        assert gone(pid) and await core.pid() != pid
    assert open_files() <= before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_request_in_prefill_when_its_worker_ends_or_hangs_comes_back_untouched(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with running_core(tmp_path, hang_s=1.0) as core:
        await core.ref.ask(AwaitReady())
        pid = await core.pid()
        os.kill(pid, signal.SIGSTOP)  # so that it has the request, and cannot have answered yet
        cut = core.generate(id=1, prompt=prompt("ann"), sampling=ANSWER)
        while not (await core.ref.ask(ListWorkers()))[0].running:
            pass
        os.kill(pid, number)
        lost = await cut
        assert lost.finish == "lost" and lost.generated == ()
        assert [(await core.said.get()).places for _ in range(3)] == [4, 0, 4]
        assert len((await core.generate(id=2, prompt=prompt("ann"), sampling=ANSWER)).generated) == 12
