"""What it costs when all contexts need eight times the KV cache: nothing fails, but how much slower is it?

Agents that share nothing take turns on one engine, each as soon as its last answer is there: once with KV cells for
all, once with slots for an eighth of them (split streams), once with an eighth of the cells (shared). Throughput counts
generated tokens; the first turn, which computes all prompts, is not timed.

    python -m scripts.bench.overcommit [--quick] [--json] [--model GGUF | --shape 135m] [--threads N]
"""

import argparse
import time

from msgspec import Struct
from msgspec.structs import replace

from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import Sampling, TokenPrompt
from aios_actors.engine.model import load
from aios_actors.engine.protocol import EngineStats, Submit
from aios_actors.engine.spec import WorkerSpec
from aios_actors.observe.logs import configure_logs
from scripts.bench.choice import add_engine_arguments, chosen_model
from scripts.bench.fleet.load import Vocabulary
from scripts.bench.report import Row, add_arguments, report

SHARE, WANTED = 8, 0.85
CONTEXT_STEP = 256  # llama.cpp rounds a sequence's cells up to this


class Load(Struct, frozen=True):
    """Lengths in tokens: each agent begins with `prompt`, each turn adds `new` and generates `out`."""

    agents: int = 64  # so that an eighth is as many as a CPU decodes at full speed
    turns: int = 3
    prompt: int = 600
    new: int = 48
    out: int = 32

    @property
    def context(self) -> int:
        """Tokens that an agent has at its end, rounded up."""
        needed = self.prompt + self.turns * (self.new + self.out) + 1
        return -(-needed // CONTEXT_STEP) * CONTEXT_STEP


class Outcome(Struct, frozen=True):
    """What a run came to."""

    tokens_per_s: float
    failed: int
    stats: EngineStats


def run(spec: WorkerSpec, load_: Load) -> Outcome:
    """All turns of all agents on one engine."""
    model = load(spec)
    engine = Engine(model)
    vocabulary = Vocabulary(model.vocab.size, tuple(model.vocab.eog))
    sampling = Sampling(max_tokens=load_.out, ignore_eos=True)
    contexts = {agent: vocabulary.draw(load_.prompt, agent) for agent in range(load_.agents)}
    turns = dict.fromkeys(contexts, 0)

    def submit(agent: int) -> None:
        contexts[agent] += vocabulary.draw(load_.new, agent, turns[agent])
        engine.submit(Submit(agent, TokenPrompt(contexts[agent]), sampling, conversation=f"agent {agent}"))

    def drive(until: int) -> int:
        """Step until every agent has had so many turns; how many generations failed."""
        failed = 0
        while engine.has_work:
            for event in engine.step():
                if not event.finish or event.result is None:
                    continue
                failed += event.result.error is not None
                contexts[event.id] = event.result.prompt_tokens + event.result.tokens
                turns[event.id] += 1
                if turns[event.id] < until:
                    submit(event.id)
        return failed

    for agent in contexts:
        submit(agent)
    failed = drive(1)
    began = time.perf_counter()
    for agent in contexts:
        submit(agent)
    failed += drive(load_.turns)
    seconds = time.perf_counter() - began
    outcome = Outcome(load_.agents * (load_.turns - 1) * load_.out / seconds, failed, engine.stats())
    engine.kv.pages.close()
    model.close()
    return outcome


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    load_ = Load(32, 2, 100, 24, 16) if options.quick else Load()
    model = chosen_model(options)
    base = WorkerSpec(str(model), "bench", context=load_.context, threads=options.threads, speculate="off")
    eighth = load_.agents // SHARE
    fits = run(replace(base, sequences=load_.agents), load_)
    rows = [Row("KV cells for all", fits.tokens_per_s, "tokens/s")]
    tight = {
        "an eighth of the slots": replace(base, sequences=eighth, kv_unified=False),
        "an eighth of the cells, shared": replace(base, sequences=load_.agents, cells=load_.context * eighth),
    }
    for what, spec in tight.items():
        outcome = run(spec, load_)
        ratio = outcome.tokens_per_s / fits.tokens_per_s
        rows += [
            Row(what, outcome.tokens_per_s, "tokens/s"),
            Row(what, ratio, "ratio", "KV cells for all", WANTED, ratio >= WANTED),
            Row(f"{what}: failed generations", outcome.failed, "", wanted=0, ok=outcome.failed == 0),
            Row(f"{what}: pages in", outcome.stats.pages_in, ""),
            Row(f"{what}: prompt tokens computed", outcome.stats.prefill_tokens, "", f"{fits.stats.prefill_tokens}"),
        ]
    return rows


def main() -> None:
    """Reads the command line, measures, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_engine_arguments(parser)
    add_arguments(parser)
    options = parser.parse_args()
    configure_logs("error")
    report("overcommit", measure(options), options)


if __name__ == "__main__":
    main()
