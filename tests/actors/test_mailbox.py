"""The mailbox against a model of two lists, whatever is done to it in whatever order."""

import asyncio
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aios_actors.actors.envelope import Envelope
from aios_actors.actors.mailbox import Mailbox
from aios_actors.actors.specs import MailboxSpec
from aios_actors.actors.testing import SimulationLoop

CAPACITY = 3


class MailboxMachine(RuleBasedStateMachine):
    """`user`, `waiting` and `control` are what the mailbox must hold, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.future: Any = partial(asyncio.Future, loop=SimulationLoop())
        self.mailbox = Mailbox(MailboxSpec(capacity=CAPACITY), self.future)
        self.user: list[Envelope] = []
        self.waiting: list[tuple[Envelope, Any]] = []
        self.control: list[Envelope] = []
        self.count = 0

    def _envelope(self, asks: bool) -> Envelope:
        self.count += 1
        return Envelope(self.count, self.future() if asks else None, None, None)

    @rule(asks=st.booleans())
    def offer(self, asks: bool) -> None:
        envelope = self._envelope(asks)
        parked = self._park()
        accepted = self.mailbox.offer(envelope)
        assert accepted == (len(self.user) < CAPACITY)
        assert parked.done() == accepted
        if accepted:
            self.user.append(envelope)

    @precondition(lambda self: len(self.user) == CAPACITY)
    @rule(asks=st.booleans())
    def block(self, asks: bool) -> None:
        envelope = self._envelope(asks)
        accepted = None if asks else self.future()
        self.mailbox.block(envelope, accepted)
        self.waiting.append((envelope, accepted))

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 10))
    def give_up(self, place: int) -> None:
        envelope, accepted = self.waiting.pop(place % len(self.waiting))
        (envelope.future if accepted is None else accepted).cancel()

    @precondition(lambda self: self.user)
    @rule()
    def take(self) -> None:
        assert self.mailbox.queue.popleft() is self.user.pop(0)
        if self.mailbox.blocked is not None:
            self.mailbox.refill()
        while self.waiting and len(self.user) < CAPACITY:
            envelope, accepted = self.waiting.pop(0)
            self.user.append(envelope)
            assert accepted is None or accepted.done()

    @rule()
    def post(self) -> None:
        envelope = self._envelope(False)
        parked = self._park()
        self.mailbox.post(envelope)
        assert parked.done()
        self.control.append(envelope)

    @precondition(lambda self: self.control)
    @rule(place=st.integers(0, 10))
    def unpost(self, place: int) -> None:
        envelope = self.control.pop(place % len(self.control))
        assert self.mailbox.unpost(envelope)
        assert not self.mailbox.unpost(envelope)

    @rule()
    def clear(self) -> None:
        left = [envelope for envelope, _ in self.mailbox.clear() if not envelope.ended]
        expected = self.user + [envelope for envelope, _ in self.waiting]
        abandoned = [envelope for envelope in left if envelope not in expected]
        assert [envelope for envelope in left if envelope in expected] == [e for e in expected if not e.ended]
        assert all(envelope.future is None for envelope in abandoned)
        self.user, self.waiting = [], []

    def _park(self) -> Any:
        self.mailbox.waiter = parked = self.future()
        return parked

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert list(self.mailbox.queue) == self.user
        assert list(self.mailbox.control or ()) == self.control
        assert self.mailbox.depth <= CAPACITY
        assert repr(self.mailbox).startswith(f"<Mailbox {len(self.user)}/{CAPACITY} block")


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
