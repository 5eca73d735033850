"""The bound to measure policies by: shortest remaining program first, which has to know what no scheduler can."""

from dataclasses import dataclass

from aios_actors.kernel.scheduler.policies import Program, Ranked, Ticket


@dataclass(eq=False, slots=True)
class KnownProgram(Program):
    """A program of which is known what service it will need in all."""

    needs: float = 0.0


class Oracle(Ranked):
    """Serves the program that needs least until it is done, and lets it take the place of one that needs more.

    With one place and no pauses this is SRPT, which has the least mean turnaround there is.
    """

    preempts = True

    def key(self, ticket: Ticket) -> float:
        if not isinstance(ticket.program, KnownProgram):
            raise TypeError("the oracle only runs in the simulator, where it is known what a program will need")
        return ticket.program.needs - ticket.program.attained
