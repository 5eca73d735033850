"""Runs an engine to the end and collects what came out; shared by the engine's tests."""

from __future__ import annotations

from aios_actors.engine.cost import CostModel, Transfer
from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import ToolSchema
from aios_actors.engine.protocol import Event, Result, Submit

MOST_STEPS = 20_000
"""An engine of a test that takes more goes on for ever."""
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "kind": {"enum": ["alpha", "beta"]}},
    "required": ["name", "kind"],
    "additionalProperties": False,
}
TOOLS = (
    ToolSchema("search", "", {"properties": {"query": {"type": "string", "maxLength": 8}}, "required": ["query"]}),
    ToolSchema("list"),
)


class Driver:
    """Runs an engine until everything is finished, and collects what came out."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[Event] = []

    def run(self, *submits: Submit) -> dict[int, Result]:
        """Submit all at once and step to the end; results by id."""
        for submit in submits:
            self.engine.submit(submit)
        steps = 0
        while self.engine.has_work:
            assert steps < MOST_STEPS, "the engine goes on and on"
            self.events += self.engine.step()
            steps += 1
        return self.results()

    def results(self) -> dict[int, Result]:
        """Results so far; every request has at most one."""
        finished = [e for e in self.events if e.finish]
        assert len({e.id for e in finished}) == len(finished)
        return {e.id: e.result for e in finished if e.result is not None}

    def finish_of(self, request: int) -> str:
        """How a request ended."""
        return next(e.finish for e in self.events if e.id == request and e.finish)

    def text_of(self, request: int) -> str:
        """The deltas of a request, joined."""
        return "".join(e.text for e in self.events if e.id == request)

    def tokens_of(self, request: int) -> tuple[int, ...]:
        """The streamed tokens of a request, joined."""
        return tuple(t for e in self.events if e.id == request for t in e.tokens)


class AlwaysMoves(CostModel):
    """Pages whatever can be paged. Decisions by measured times would differ from run to run."""

    def worth_moving(self, start: int, end: int, *moves: tuple[Transfer, int]) -> bool:
        """Yes."""
        return True


class AlwaysJoins(AlwaysMoves):
    """Makes neighbours of all that run, at every step."""

    def worth_joining(self, passes: int, tokens: int) -> bool:
        """Yes."""
        return True
