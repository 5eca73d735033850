"""The simulation itself: arrivals, the line with its policy, the engine's steps, and the record of each call."""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import count

from aios_actors.config.structs import SchedulerConfig
from aios_actors.kernel.scheduler.line import Line, Turn
from aios_actors.kernel.scheduler.policies import Policy, Ticket
from aios_actors.kernel.scheduler.simulator.engine import EngineCost, Running, leap
from aios_actors.kernel.scheduler.simulator.oracle import KnownProgram
from aios_actors.kernel.scheduler.simulator.report import CallRecord, Report
from aios_actors.kernel.scheduler.simulator.trace import ProgramTrace, Trace


def simulate(
    trace: Trace,
    policy: Callable[[SchedulerConfig], Policy],
    *,
    places: int = 8,
    cost: EngineCost | None = None,
    config: SchedulerConfig | None = None,
) -> Report:
    """Runs a policy on a trace.

    Args:
        trace: what comes when.
        policy: a class as `find_policy` returns it, or whatever makes a policy.
        places: calls that the engine runs at the same time.
        cost: what the engine's steps cost.
        config: slice, ageing and costs of tokens, for the policy.

    Returns:
        What came out, in simulated time; it depends on nothing but the arguments.
    """
    config = config or SchedulerConfig()
    simulation = Simulation(trace, Line(config, policy(config), places), cost or EngineCost())
    simulation.run()
    return simulation.report()


class Simulation:
    """One simulation under way."""

    def __init__(self, trace: Trace, line: Line, cost: EngineCost) -> None:
        self._trace = trace
        self._line = line
        self._cost = cost
        self._now = 0.0
        self._numbers = count()
        self._programs = [KnownProgram(needs=self._needs(program)) for program in trace]
        # When a call comes: the time, a number that keeps ties in order, its program, its index there.
        self._coming = [
            (program.arrives + program.calls[0].think_s, next(self._numbers), n, 0)
            for n, program in enumerate(trace)
            if program.calls
        ]
        heapq.heapify(self._coming)
        self._live: dict[int, Running] = {}
        self._where: dict[int, tuple[int, int]] = {}
        self._first_tokens: dict[int, float] = {}
        self._preemptions: Counter[int] = Counter()
        self._records: list[CallRecord] = []
        self._ends = [program.arrives for program in trace]
        self._weights = {program.share: program.weight for program in trace}
        self._waiting: Counter[str] = Counter()
        self._shares: defaultdict[str, float] = defaultdict(float)
        self._idle_s = 0.0

    def _needs(self, program: ProgramTrace) -> float:
        config = self._line.config
        return sum(
            (call.prompt - call.cached) * config.prompt_cost + call.cached * config.cached_cost + call.output
            for call in program.calls
        )

    def run(self) -> None:
        """To the last answer."""
        while self._coming or self._live:
            self._arrive()
            self._dispatch()
            if self._line.running:
                self._step()
            elif self._coming:
                self._now = self._coming[0][0]

    def _arrive(self) -> None:
        """Calls whose time has come join the line, or are refused."""
        while self._coming and self._coming[0][0] <= self._now:
            at, _, number, index = heapq.heappop(self._coming)
            program, id = self._trace[number], next(self._numbers)
            call = program.calls[index]
            deadline = math.inf if program.deadline_s is None else at + program.deadline_s
            ticket = Ticket(
                id, program.agent, at, call.prompt, self._programs[number], program.share, program.weight,
                program.priority, deadline,
            )  # fmt: skip
            if not self._line.admits(ticket, self._now)[0]:
                self._records.append(CallRecord(number, program.agent, at, at, at, 0.0, 0, refused=True))
                continue
            self._where[id] = number, index
            self._live[id] = Running(ticket, call, max(call.prompt - call.cached, 1), max(call.output, 1))
            self._waiting[program.share] += 1
            self._line.policy.add(ticket)

    def _dispatch(self) -> None:
        """Free places are given away; as long as a running call is to make room, it does."""
        while True:
            while (ticket := self._line.take(self._now)) is not None:
                self._waiting[ticket.group] -= 1
                self._live[ticket.id].begin(self._line.policy.slice(ticket))
            victim = self._line.urge()
            if victim is None:
                return
            self._back(self._live[victim.id])

    def _step(self) -> None:
        line, chunk = self._line, self._cost.chunk
        batch = [self._live[id] for id in line.running]
        until = self._coming[0][0] - self._now if self._coming else math.inf
        steps, seconds = leap(batch, self._cost, until)
        if len(batch) < line.places and len(line.policy):
            self._idle_s += seconds
        contested = all(self._waiting[group] > 0 for group in self._weights)
        self._now += seconds
        for each in batch:
            before = each.prefilled, each.generated
            each.advance(steps, chunk)
            if contested:
                prefilled, generated = each.prefilled - before[0], each.generated - before[1]
                served = prefilled * line.config.prompt_cost + generated
                self._shares[each.ticket.group] += served / each.ticket.weight
            if each.generated:
                self._first_tokens.setdefault(each.ticket.id, self._now)
            if each.output == 0:
                self._end(each)
            elif each.over:
                self._back(each)

    def _turn(self, running: Running) -> Turn:
        cached = running.call.cached if running.prefilled and running.ticket.generated == 0 else 0
        return Turn(running.prefilled + cached, cached, running.generated)

    def _back(self, running: Running) -> None:
        ticket = running.ticket
        self._preemptions[ticket.id] += 1
        self._waiting[ticket.group] += 1
        self._line.back(ticket, self._now, self._turn(running))

    def _end(self, running: Running) -> None:
        ticket = running.ticket
        self._line.end(ticket, self._now, self._turn(running))
        del self._live[ticket.id]
        number, index = self._where.pop(ticket.id)
        program = self._trace[number]
        first_token, preemptions = self._first_tokens.pop(ticket.id), self._preemptions.pop(ticket.id, 0)
        self._records.append(
            CallRecord(number, ticket.agent, ticket.arrived, first_token, self._now, ticket.waited, preemptions)
        )
        self._ends[number] = self._now
        if index + 1 < len(program.calls):
            comes = self._now + program.calls[index + 1].think_s
            heapq.heappush(self._coming, (comes, next(self._numbers), number, index + 1))

    def report(self) -> Report:
        """What has come out."""
        turnarounds = (end - program.arrives for end, program in zip(self._ends, self._trace, strict=True))
        shares = {group: self._shares[group] for group in self._weights}
        return Report(tuple(self._records), tuple(turnarounds), shares, self._now, self._idle_s)
