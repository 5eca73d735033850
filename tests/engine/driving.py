"""Runs an engine to the end and collects what came out; shared by the engine's tests."""

from __future__ import annotations

from aios_actors.engine.cost import CostModel, Transfer
from aios_actors.engine.loop import Engine
from aios_actors.engine.protocol import Event, Result, Submit


class Driver:
    """Runs an engine until everything is finished, and collects what came out."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[Event] = []

    def run(self, *submits: Submit) -> dict[int, Result]:
        """Submit all at once and step to the end; results by id."""
        for submit in submits:
            self.engine.submit(submit)
        while self.engine.has_work:
            self.events += self.engine.step()
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
