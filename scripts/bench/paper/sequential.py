"""The same scripted agents without the kernel: all on one `Llama` of llama-cpp-python, one call at a time."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread

from aios_actors.engine.environment import worker_environment
from scripts.bench.paper.agents import Call, Follower, Script, question
from scripts.bench.paper.nodes import Ended, Kind, NodeRun
from scripts.bench.paper.options import Options

CONTEXT = 2048


async def run_sequentially(options: Options, kinds: Sequence[Kind], *, overlap: bool) -> NodeRun:
    """Runs the agents on one `Llama`.

    Args:
        options: model and threads.
        kinds: the agents; delays are not for this.
        overlap: whether an agent may have its turn while another one waits for its tool; without, agents run one after
            the other, each from its beginning to its end.
    """
    os.environ |= worker_environment(os.environ)  # threads wait as those of our worker do
    import llama_cpp

    llama = llama_cpp.Llama(
        str(options.model), n_ctx=CONTEXT, n_threads=options.threads, n_threads_batch=options.threads, verbose=False
    )
    run = NodeRun(began=time.perf_counter())
    turns, one = asyncio.Lock(), asyncio.Lock()
    found: dict[int, Ended] = {}

    async def agent(number: int, kind: str, script: Script) -> None:
        calls: list[Call] = []
        async with anyio.create_task_group() as group:
            for index, _ in enumerate(script.lanes):
                group.start_soon(_lane, llama, turns, script, index, calls, run.began)
        found[number] = Ended(kind, time.perf_counter() - run.began, tuple(calls))

    async def in_order(number: int, kind: str, script: Script) -> None:
        async with one:
            await agent(number, kind, script)

    scripts = [(kind.name, script) for kind in kinds for script in kind.scripts]
    async with anyio.create_task_group() as group:
        for number, (kind, script) in enumerate(scripts):
            group.start_soon(agent if overlap else in_order, number, kind, script)
    run.wall_s = time.perf_counter() - run.began
    run.agents = [found[number] for number in range(len(scripts))]
    llama.close()
    return run


async def _lane(llama: Any, turns: asyncio.Lock, script: Script, number: int, calls: list[Call], began: float) -> None:
    messages = [{"role": "system", "content": Follower.__doc__ or ""}]
    # An agent arrives with all others; its first call waits from then on, even if its turn comes much later.
    ready = began
    for index, turn in enumerate(script.lanes[number]):
        await anyio.sleep(turn.pause_s)
        sent = ready + turn.pause_s if index == 0 else time.perf_counter()
        messages.append({"role": "user", "content": question(turn, script.seed, number, index)})
        async with turns:
            waited = time.perf_counter() - sent
            text, first, count = await anyio.to_thread.run_sync(_answer, llama, messages, turn.out)
        calls.append(Call(sent, first, time.perf_counter(), waited, 0, 0, count))
        messages.append({"role": "assistant", "content": text})


def _answer(llama: Any, messages: list[dict[str, str]], out: int) -> tuple[str, float, int]:
    """Text, time of the first piece, and number of tokens of an answer of exact length."""
    bias = {token: -100.0 for token in (llama.token_eos(), llama.token_bos())}
    stream: Any = llama.create_chat_completion(
        messages,
        max_tokens=out,
        temperature=0.0,
        logit_bias=bias,
        stream=True,
    )
    text, first, count = "", 0.0, 0
    for chunk in stream:
        piece = chunk["choices"][0]["delta"].get("content")
        if piece is not None:
            first = first or time.perf_counter()
            text += piece
            count += 1
    return text, first or time.perf_counter(), count
