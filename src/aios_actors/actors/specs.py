"""Actors and supervision trees as data.

A `ChildSpec` says how to make one actor and what to do when it ends; a `SupervisorSpec` says how siblings hang
together. Both follow Erlang/OTP: restart types permanent, transient and temporary; strategies one_for_one,
rest_for_one and one_for_all; a restart intensity beyond which the supervisor fails upward. All times are in seconds.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Policy = Literal["block", "reject", "drop_oldest", "drop_newest"]
Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "rest_for_one", "one_for_all"]
ExitKind = Literal["stopped", "killed", "crashed"]


class MailboxSpec(msgspec.Struct, frozen=True):
    """How many messages wait at most for an actor, and what happens to one that finds the mailbox full.

    `block` makes asks and `ActorRef.send` wait (a `tell`, which cannot wait, raises MailboxFull); `reject` raises
    MailboxFull; `drop_oldest` and `drop_newest` put a message in the dead letters, whose asker gets MailboxFull.
    `stash` bounds `Actor.stash`.
    """

    capacity: int = 1024
    policy: Policy = "block"
    stash: int = 256

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.stash < 0:
            raise ValueError(f"mailbox: capacity must be at least 1 and stash at least 0, not {self!r}")


class Backoff(msgspec.Struct, frozen=True):
    """Delay before a restart: none before the first within a period, then `initial_s` times `factor` each time.

    A delay is at most `max_s`, and varies at random by plus or minus `jitter` of itself.
    """

    initial_s: float = 0.05
    factor: float = 2.0
    max_s: float = 10.0
    jitter: float = 0.2

    def delay(self, recent: int, chance: float) -> float:
        """Seconds to wait after `recent` (>= 1) restarts within the period; `chance` is uniform in [0, 1)."""
        if recent <= 1:
            return 0.0
        delay = min(self.max_s, self.initial_s * self.factor ** (recent - 2))
        return delay * (1.0 + self.jitter * (2.0 * chance - 1.0))


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to make one actor, and what to do when it ends.

    `factory` is an Actor class, or a function that makes an actor from `args` and `kwargs`. `restart`: a `permanent`
    actor is restarted after a crash and after it stopped itself, a `transient` one after a crash, a `temporary` one
    never; `ActorRef.stop` and `ActorRef.kill` are final for all. `shutdown_s` is how long a graceful stop may drain.
    `attempts` is how many incarnations may try one message before it counts as poison and is put aside; with 1,
    delivery is at most once. None for `name` makes one up; for `mailbox` and `restart` takes the class's.
    """

    factory: Callable[..., Any]
    name: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    restart: Restart | None = None
    shutdown_s: float = 5.0
    mailbox: MailboxSpec | None = None
    attempts: int = 1


class SupervisorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a supervisor treats its children: started in order, stopped in reverse.

    More than `intensity` restarts within `period_s` make the supervisor itself fail.
    """

    strategy: Strategy = "one_for_one"
    children: tuple[ChildSpec, ...] = ()
    intensity: int = 3
    period_s: float = 5.0
    backoff: Backoff = Backoff()


class Exit(msgspec.Struct, frozen=True):
    """Why an actor (or one incarnation of it) ended; `cause` is the exception of a crash."""

    kind: ExitKind
    cause: BaseException | None = None

    def __str__(self) -> str:
        return self.kind if self.cause is None else f"{self.kind}: {type(self.cause).__name__}: {self.cause}"
