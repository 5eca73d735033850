"""Supervision against a small model of Erlang/OTP's rules."""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aios_actors.actors import ActorSystem, Backoff, ChildSpec, Supervisor, SupervisorSpec
from aios_actors.actors.specs import Restart, Strategy
from aios_actors.actors.testing import SimulationLoop
from tests.semantics.messages import Add, Crash, Recorder

NAMES = ("a", "b", "c")
INTENSITY, PERIOD_S = 2, 5.0


class Counted(Recorder):
    """Counts incarnations by name."""

    def __init__(self, lives: dict[str, int], name: str) -> None:
        super().__init__()
        lives[name] += 1


class SupervisorMachine(RuleBasedStateMachine):
    """`alive`, `lives` and `failed` are what must be true of the children and of their supervisor."""

    @initialize(
        strategy=st.sampled_from(("one_for_one", "rest_for_one", "one_for_all")),
        restarts=st.tuples(*[st.sampled_from(("permanent", "transient", "temporary"))] * 3),
        seed=st.integers(0, 99),
    )
    def start(self, strategy: Strategy, restarts: tuple[Restart, ...], seed: int) -> None:
        self.loop = SimulationLoop(seed)
        self.strategy = strategy
        self.restarts = dict(zip(NAMES, restarts, strict=True))
        self.seen = dict.fromkeys(NAMES, 0)
        self.lives = dict.fromkeys(NAMES, 1)
        self.alive = dict.fromkeys(NAMES, True)
        self.failed = False
        self.times: list[float] = []
        self._run(self._start())

    async def _start(self) -> None:
        self.system = ActorSystem("model", drain_s=0)
        children = tuple(
            ChildSpec(factory=Counted, name=name, args=(self.seen, name), restart=restart)
            for name, restart in self.restarts.items()
        )
        spec = SupervisorSpec(
            strategy=self.strategy,
            children=children,
            intensity=INTENSITY,
            period_s=PERIOD_S,
            backoff=Backoff(initial_s=0.0, jitter=0.0),
        )
        top = ChildSpec(factory=Supervisor, args=(spec,), name="top", restart="temporary")
        self.top = await self.system.spawn_spec(top)
        self.refs = {name: self.system.actor_of(f"top/{name}") for name in NAMES}

    def _run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @rule(name=st.sampled_from(NAMES))
    def crash(self, name: str) -> None:
        self.refs[name].tell(Crash())
        self._run(asyncio.sleep(0.001))
        if not self.alive[name]:
            return
        if self.restarts[name] == "temporary":
            self.alive[name] = False
            return
        now = self.loop.time()
        self.times = [time for time in self.times if time > now - 0.001 - PERIOD_S] + [now - 0.001]
        if len(self.times) > INTENSITY:
            self.failed = True
            self.alive = dict.fromkeys(NAMES, False)
            return
        at = NAMES.index(name)
        group = {"one_for_one": NAMES[at : at + 1], "rest_for_one": NAMES[at:], "one_for_all": NAMES}[self.strategy]
        for member in group:
            self.lives[member] += self.alive[member]

    @rule(name=st.sampled_from(NAMES))
    def stop(self, name: str) -> None:
        self.refs[name].stop()
        self._run(asyncio.sleep(0.001))
        self.alive[name] = False

    @rule(seconds=st.sampled_from((1.0, 3.0, 6.0)))
    def wait(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @precondition(lambda self: any(self.alive.values()))
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in NAMES if self.alive[name]]))
        assert isinstance(self._run(self.refs[name].ask(Add(1), timeout=1.0)), int)

    @invariant()
    def agrees_with_the_model(self) -> None:
        if hasattr(self, "refs"):
            assert {name: ref.alive for name, ref in self.refs.items()} == self.alive
            assert self.seen == self.lives
            assert self.top.alive is not self.failed

    def teardown(self) -> None:
        if hasattr(self, "refs"):
            self._run(self.system.shutdown())
            assert asyncio.all_tasks(self.loop) == set()
            self.loop.close()


TestSupervision = SupervisorMachine.TestCase
TestSupervision.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
