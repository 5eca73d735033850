"""What one incarnation of an actor owns, and what ends with it.

Deferred replies, the stash, tasks, timers, monitors and links. A task's error is the incarnation's; a deferred reply
that is still open at the end is failed, a stashed message goes back to the mailbox.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aios_actors.actors.envelope import Envelope, Scope, scope_var
from aios_actors.actors.errors import StashFull
from aios_actors.actors.mailbox import Task
from aios_actors.actors.reply import Reply
from aios_actors.actors.timers import Timers

if TYPE_CHECKING:
    from aios_actors.actors.cell import Cell


class Belongings:
    """Base of `Life`. Collections are made when they are first needed: most actors need none, and there are many."""

    __slots__ = ("cell", "deferred", "links", "monitors", "stashed", "tasks", "timers")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.deferred: set[Reply[Any]] | None = None
        self.stashed: list[Envelope] | None = None
        self.tasks: set[Task[Any]] | None = None
        self.timers: Timers | None = None
        self.monitors: list[Callable[[], None]] | None = None
        self.links: set[Belongings] | None = None

    def fail(self, error: BaseException) -> None:
        """Crashes the incarnation; given by Life."""
        raise NotImplementedError

    def defer(self, envelope: Envelope) -> Reply[Any]:
        """Takes over the reply slot of the current message."""
        reply: Reply[Any] = Reply(envelope, self)
        envelope.holder = reply
        if envelope.future is not None:  # nobody waits for the answer to a tell
            if self.deferred is None:
                self.deferred = set()
            self.deferred.add(reply)
        return reply

    def undefer(self, reply: Reply[Any]) -> None:
        """A deferred reply was answered or is wanted no more."""
        if self.deferred:
            self.deferred.discard(reply)
            if not self.deferred and self.cell.ending is not None:
                self.cell.mailbox.wake()

    def stash(self, envelope: Envelope) -> None:
        """Puts the current message aside until `unstash`."""
        if self.stashed is None:
            self.stashed = []
        limit = self.cell.mailbox.spec.stash
        if len(self.stashed) >= limit:
            raise StashFull(f"{self.cell.path} has stashed {limit} messages, its limit; raise MailboxSpec.stash")
        envelope.holder = None
        self.stashed.append(envelope)

    def unstash(self) -> None:
        """Puts the stashed messages back at the head of the mailbox, oldest first."""
        self.cell.mailbox.queue.extendleft(reversed(self._unstash()))

    def _unstash(self) -> list[Envelope]:
        stashed, self.stashed = self.stashed or [], None
        for envelope in stashed:
            envelope.holder = self.cell
        self.cell.processed -= len(stashed)
        return stashed

    def start_task(self, work: Coroutine[Any, Any, Any], name: str, inherit: Envelope | None) -> Task[Any]:
        """Runs `work` as a task of this incarnation; its error is the incarnation's."""
        if self.tasks is None:
            self.tasks = set()
        scope = Scope(self.cell.ref, inherit)
        task = self.cell.system.loop.task(self._run_task(work, scope), f"{self.cell.path}#{name}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        # A task that is cancelled before its first step never began its work.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _run_task(self, work: Coroutine[Any, Any, Any], scope: Scope) -> Any:
        scope_var.set(scope)
        try:
            return await work
        except Exception as error:
            self.fail(error)

    def link(self, other: Belongings) -> None:
        """Ties the fates of two incarnations."""
        for one, two in ((self, other), (other, self)):
            if one.links is None:
                one.links = set()
            one.links.add(two)

    def unlink(self, other: Belongings) -> None:
        """Unties them."""
        for one, two in ((self, other), (other, self)):
            if one.links is not None:
                one.links.discard(two)
