"""One incarnation of an actor: its instance, its serve loop, and all that dies with it.

The loop takes one message at a time from the mailbox, control lane first, and sets the reply. It is one task for as
long as the incarnation lives. A handler is cancelled by cancelling that task, and the loop then goes on; so there is
no task for each message. What a handler raises is told apart here: a Refusal is a reply, anything else ends the
incarnation. Timers, tasks, monitors, links, deferred replies and stash belong to the incarnation and end with it.
"""

from __future__ import annotations

import logging
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from aios_actors.actors.belongings import Belongings
from aios_actors.actors.envelope import Envelope, scope_var
from aios_actors.actors.errors import LinkedActorDied, Refusal
from aios_actors.actors.mailbox import CancelledError, InvalidStateError, Task
from aios_actors.actors.specs import Exit

if TYPE_CHECKING:
    from aios_actors.actors.actor import Actor
    from aios_actors.actors.cell import Cell

log = logging.getLogger("aios_actors.actors")

# Messages handled without a pause before everything else on the loop gets its turn; 64 askers never reach it.
TURN = 256


class Life(Belongings):
    """One incarnation. `failure` is an error that came from outside of its handlers: a task, a link, a child."""

    __slots__ = ("actor", "ended", "entered", "failure", "interrupted", "task")

    def __init__(self, cell: Cell, actor: Actor) -> None:
        super().__init__(cell)
        self.actor = actor
        self.entered = self.ended = False
        self.failure: BaseException | None = None
        self.interrupted: Envelope | None = None
        self.task: Task[Any] = cell.system.loop.task(self._run(), cell.path)

    async def _run(self) -> None:
        cell, actor = self.cell, self.actor
        self.entered = True
        scope_var.set(cell)
        exit = Exit("stopped")
        try:
            self._raise_if_ended()
            await actor.started()
            cell.opened()
            await self._serve()
            cell.state = "stopping"
            await actor.stopping()
        except CancelledError:
            exit = Exit("crashed", self.failure) if self.failure is not None else self._requested_exit()
        except Exception as error:
            exit = Exit("crashed", error)
        await self._close(exit)
        cell.life_ended(exit)

    async def _serve(self) -> None:
        cell, actor = self.cell, self.actor
        mailbox = cell.mailbox
        queue = mailbox.queue
        left = TURN
        while True:
            if mailbox.control:
                envelope = mailbox.control.popleft()
            elif queue:
                envelope = queue.popleft()
                if mailbox.blocked is not None:
                    mailbox.refill()
            elif await self._idle():
                left = TURN
                continue
            else:
                return
            future = envelope.future
            if future is not None and future.done():
                cell.skipped += 1
                continue
            cell.current = envelope
            message = envelope.message
            try:
                result = cell.handlers[type(message)](actor, message)
                if type(result) is CoroutineType:
                    cell.since = cell.system.now()
                    result = await result
            except Refusal as refusal:
                self._refused(envelope, refusal)
            except CancelledError as error:
                self._cancelled(envelope, error)
            except Exception as error:
                self._crashed(envelope, error)
                raise
            else:
                if future is not None and envelope.holder is cell:
                    try:
                        future.set_result(result)
                    except InvalidStateError:
                        cell.system.late_replies += 1
            cell.processed += 1
            left -= 1
            if not left or self.interrupted is not None:
                await self._pause()
                left = TURN

    async def _idle(self) -> bool:
        """Parks until there is something to do; False if the incarnation is to end instead."""
        cell = self.cell
        cell.current = None
        self._raise_if_ended()
        if cell.ending is not None and not self.deferred:
            return False
        await cell.mailbox.wait()
        return True

    async def _pause(self) -> None:
        """After an interrupted handler, or after a long turn, the loop takes stock."""
        cell = self.cell
        cell.current = None
        if self.interrupted is not None:
            self.interrupted = None
            self.task.uncancel()
            self._raise_if_ended()
        await cell.system.loop.turn()

    def _raise_if_ended(self) -> None:
        """Ends an incarnation that was told to end when it could not be cancelled, or that did not heed it."""
        cell = self.cell
        if self.failure is not None or cell.suspended is not None:
            raise CancelledError
        if cell.ending is not None and cell.ending.kind == "killed":
            raise CancelledError

    def _requested_exit(self) -> Exit:
        if self.cell.suspended is not None:
            return Exit("stopped")
        if self.cell.ending is None:  # cancelled by the loop's end, after which nothing may be restarted
            self.cell.ending = Exit("killed")
        return self.cell.ending

    def _refused(self, envelope: Envelope, refusal: Refusal) -> None:
        if envelope.holder is not self.cell:
            return
        if envelope.future is None:
            self.cell.bury(envelope, "refused", refusal)
        else:
            envelope.fail(refusal)

    def _cancelled(self, envelope: Envelope, error: CancelledError) -> None:
        """A handler was cancelled: because nobody waits for its answer, or because the actor ends."""
        killed = self.cell.ending is not None and self.cell.ending.kind == "killed"
        ends = killed or self.failure is not None or self.cell.suspended is not None
        if self.interrupted is envelope and not ends:
            return
        if not ends and not self.task.cancelling():
            self.failure = RuntimeError("a handler awaited something that was cancelled")
        self._crashed(envelope, self.failure)
        raise error

    def _crashed(self, envelope: Envelope, error: BaseException | None) -> None:
        cell = self.cell
        cell.current = None
        envelope.attempts += 1
        if envelope.holder is not cell:
            cell.processed += 1
        elif error is not None and envelope.attempts < cell.spec.attempts:
            cell.mailbox.queue.appendleft(envelope)
        else:
            cell.dead(envelope, "poison" if error is not None else "killed", error)

    async def _close(self, exit: Exit) -> None:
        """Ends all that belongs to this incarnation, then runs the `stopped` hook."""
        cell = self.cell
        self.ended = True
        cell.closing()
        if self.timers is not None:
            self.timers.clear()
        for cancel in self.monitors or ():
            cancel()
        cell.skipped += cell.mailbox.clear_control()
        for other in list(self.links or ()):
            self.unlink(other)
            if exit.kind != "stopped":
                other.fail(LinkedActorDied(f"{cell.path}, to which {other.cell.path} is linked, {exit}"))
        for reply in list(self.deferred or ()):
            reply.fail(cell.died(exit))
        if self.stashed:
            cell.mailbox.queue.extendleft(reversed(self._unstash()))
        await self._end_rest()
        try:
            await self.actor.stopped(exit)
        except CancelledError:
            log.warning("%s: the stopped hook was cut short by a kill", cell.path)
        except Exception:
            log.exception("%s: the stopped hook failed", cell.path)

    async def _end_rest(self) -> None:
        """Ends tasks and children; a kill, earlier or meanwhile, leaves the children no time to drain."""
        cell = self.cell
        tasks = [task for task in self.tasks or () if task.cancel()]
        if cell.ending is not None and cell.ending.kind == "killed":
            cell.kill_children()
        while True:
            try:
                await cell.system.loop.gone(tasks)
                await cell.stop_children()
                return
            except CancelledError:
                cell.kill_children()

    def fail(self, error: BaseException) -> None:
        """Crashes the incarnation from outside of its handlers; without effect once it ends."""
        if self.failure is None and not self.ended:
            self.failure = error
            self.cancel()

    def cancel(self) -> None:
        """Cancels what it does now; before its first step, which would be skipped, it is left to notice."""
        if self.entered:
            self.task.cancel()

    def interrupt(self, envelope: Envelope) -> None:
        """Cancels the handler of `envelope`, which is the current one."""
        if self.interrupted is None:
            self.interrupted = envelope
            self.task.cancel()
