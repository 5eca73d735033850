"""Agents of one kind, and the tasks that wait for them. Plain bookkeeping, without actors."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aios_actors.actors import ActorRef, ChildSpec, Reply
from aios_actors.kernel.agents.messages import AgentKind


@dataclass(eq=False, slots=True)
class Assignment:
    """A task for an agent.

    Attributes:
        input: what to do.
        reply: the asker's reply slot.
        asker: name of the agent that waits for the answer; "" for the node.
        target: whom the asker named, an agent or a kind.
        worker: name of the agent that works on it; "" while none does.
        number: its number in the run; None for a task from another agent.
        task: what awaits the agent's answer, while it works.
        key: the journal's key of it; "" if it is in no journal.
        why: why it was ended before its answer; "" if it was not.
    """

    input: Any
    reply: Reply[Any]
    asker: str = ""
    target: str = ""
    worker: str = ""
    number: int | None = None
    task: asyncio.Task[None] | None = None
    key: str = ""
    why: str = ""


@dataclass(eq=False, slots=True)
class Hosted:
    """An agent: what it works on, the tasks that wait for just this one, who made it, and whom it made.

    `spec` is what its actor is made from. `paused_at` is the clock time since which it stands still; `remaking` is set
    while a fresh actor takes the place of one that was killed. It takes no task then.
    """

    name: str
    kind: AgentKind
    spec: ChildSpec
    ref: ActorRef
    parent: str = ""
    busy: Assignment | None = None
    queue: list[Assignment] = field(default_factory=list)
    children: "list[Hosted]" = field(default_factory=list)
    paused_at: float | None = None
    remaking: bool = False

    def tree(self) -> "Iterator[Hosted]":
        """Itself and all that it made, and they."""
        yield self
        for child in self.children:
            yield from child.tree()


class Pool:
    """The agents of one config entry. A task for the entry goes to the first that is idle."""

    def __init__(self, kind: AgentKind) -> None:
        self.kind = kind
        self.members: list[Hosted] = []
        self._idle: dict[Hosted, None] = {}
        self._queue: deque[Assignment] = deque()
        self._made = 0

    def new_name(self, *, child: bool) -> str:
        """Name of the next agent: the entry's own if it is to have one agent only, else with a number."""
        self._made += 1
        return f"{self.kind.name}-{self._made}" if child or self.kind.config.count > 1 else self.kind.name

    def join(self, hosted: Hosted) -> None:
        """A new agent is ready for tasks."""
        self.members.append(hosted)
        self._idle[hosted] = None

    def submit(self, assignment: Assignment) -> Hosted | None:
        """Queues a task for any agent of the pool. Returns an idle one, if there is one, which is to `take` it."""
        self._queue.append(assignment)
        return next(iter(self._idle), None)

    def take(self, hosted: Hosted) -> Assignment | None:
        """The next task for an agent that has none; it is idle if there is none."""
        while (assignment := self._next(hosted)) is not None:
            if not assignment.reply.done:
                hosted.busy, assignment.worker = assignment, hosted.name
                self._idle.pop(hosted, None)
                return assignment
        if not hosted.parent:
            self._idle[hosted] = None
        return None

    def _next(self, hosted: Hosted) -> Assignment | None:
        """What waits for this agent, before what waits for any of its pool."""
        if hosted.queue:
            return hosted.queue.pop(0)
        return self._queue.popleft() if self._queue and not hosted.parent else None

    def leave(self, hosted: Hosted) -> None:
        """The agent is no more."""
        self.members.remove(hosted)
        self._idle.pop(hosted, None)

    def sit_out(self, hosted: Hosted) -> None:
        """The agent takes no tasks until it asks for one by `take`."""
        self._idle.pop(hosted, None)

    def drain(self) -> Iterator[Assignment]:
        """Takes out all tasks that wait for the pool or for one of its agents."""
        for queue in (self._queue, *(hosted.queue for hosted in self.members)):
            waiting = list(queue)
            queue.clear()
            yield from waiting
