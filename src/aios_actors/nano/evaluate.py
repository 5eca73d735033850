"""Solves held-out tasks with a GGUF by greedy, unconstrained decoding in llama.cpp against simulated tools.

A quick measure for training; the benchmark of the whole system runs the same tasks on a node. Needs llama-cpp-python.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llama_cpp import Llama

from aios_actors.nano.chat import CALL_END, CALL_START, TURN_END, TURN_START, prompt, turn
from aios_actors.nano.tasks import Task, held_out_tasks

MAX_STEPS = 8
MAX_TOKENS = 160


@dataclass(frozen=True)
class Outcome:
    """One run: whether it passed, whether it matched the reference to the letter, and the chat."""

    task: Task
    passed: bool
    exact: bool
    text: str


class Runner:
    """Runs tasks on one model."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._llama = Llama(str(path), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def complete(self, text: str) -> str:
        """The model's greedy continuation of `text`, up to the end of the turn."""
        end = self._llama.tokenize(TURN_END.encode(), add_bos=False, special=True)[0]
        produced: list[int] = []
        tokens = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        for token in self._llama.generate(tokens, temp=0.0, repeat_penalty=1.0):
            if token == end or len(produced) >= MAX_TOKENS:
                break
            produced.append(token)
        said: bytes = self._llama.detokenize(produced, special=True)
        return said.decode(errors="replace")

    def run(self, task: Task) -> Outcome:
        """Lets the model solve one task."""
        world = task.world()
        text = prompt(task.system, task.tools, task.input)
        said: list[str] = []
        answer = ""
        for _ in range(MAX_STEPS):
            answer = self.complete(text + f"{TURN_START}assistant\n")
            said.append(answer)
            text += turn("assistant", answer)
            if CALL_START not in answer:
                break
            text += turn("tool", _answer(world.call, answer))
        exact = said == [*(call.thought + _call(call.tool, call.arguments) for call in task.calls), task.answer]
        return Outcome(task, task.passes(answer, world.files, world.facts), exact, text)


def _call(name: str, arguments: object) -> str:
    return f"{CALL_START}{json.dumps({'name': name, 'arguments': arguments})}{CALL_END}"


def _answer(call: object, text: str) -> str:
    assert callable(call)
    try:
        request = json.loads(text.partition(CALL_START)[2].removesuffix(CALL_END))
        return str(call(request["name"], request["arguments"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "error: this is no tool call"


def tally(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, int, int]]:
    """By skill, and in all: how many tasks, passed, exact."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for outcome in outcomes:
        for name in (outcome.task.skill, "all"):
            for index, hit in enumerate((True, outcome.passed, outcome.exact)):
                counts[name][index] += hit
    return {name: (n, passed, exact) for name, (n, passed, exact) in sorted(counts.items())}


def report(path: Path, n: int, seed: int = 1) -> str:
    """Runs `n` held-out tasks of each kind and gives the table of results."""
    runner = Runner(path)
    lines: list[str] = []
    for unseen_tools in (False, True):
        lines.append(f"{'made-up' if unseen_tools else 'built-in'} tools: tasks, passed, to the letter")
        results = tally(runner.run(task) for task in held_out_tasks(seed, n, unseen_tools))
        lines += [f"  {name:20}{n:5}{passed / n:8.1%}{exact / n:8.1%}" for name, (n, passed, exact) in results.items()]
    return "\n".join(lines)
