"""A limit on how many calls of one tool run at the same time.

Contract: first come, first served; a waiting caller can be cancelled. A slot is free again when its call has really
ended: a thread that runs on after its time limit keeps it. If all slots are held by such threads, nothing would ever
free one, so whoever waits is refused.
"""

import asyncio
from collections import deque

from aios_actors.syscalls.errors import ToolTimeout


class Slots:
    """Used on one event loop only."""

    def __init__(self, tool: str, limit: int) -> None:
        """`tool`: its name, for errors; `limit`: most calls at once."""
        self._tool = tool
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self.hanging = 0

    def __repr__(self) -> str:
        return f"<Slots {self.running}/{self._limit} hanging={self.hanging} waiting={len(self._waiting)}>"

    async def take(self) -> None:
        """Waits for a free slot and takes it. Raises ToolTimeout if all are held by calls that hang."""
        if self.hanging >= self._limit:
            raise self._stuck()
        if self.running < self._limit:
            self.running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self.give()
            raise

    def give(self) -> None:
        """Frees a slot: it goes to who has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    def hang(self) -> None:
        """A call's time is over, but its thread runs on."""
        self.hanging += 1
        while self.hanging >= self._limit and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(self._stuck())

    def unhang(self) -> None:
        """The thread has ended at last."""
        self.hanging -= 1
        self.give()

    def _stuck(self) -> ToolTimeout:
        return ToolTimeout(
            f'tool "{self._tool}" hangs: {self.hanging} calls passed their time limit and still run, '
            f"and no more than {self._limit} may run at once"
        )
