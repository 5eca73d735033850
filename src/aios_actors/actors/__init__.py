"""An actor runtime for asyncio: typed messages, supervision, deadlines. It knows nothing of LLMs and can be used alone.

    class Add(Message[int]):
        n: int

    class Counter(Actor):
        def __init__(self) -> None:
            self.total = 0

        @handler
        def add(self, message: Add) -> int:
            self.total += message.n
            return self.total

    async with ActorSystem("demo") as system:
        counter = await system.spawn(Counter)
        assert await counter.ask(Add(1)) == 1

`docs/semantics.md` states what is promised.
"""

from aios_actors.actors.activation import Activation, ActorId
from aios_actors.actors.actor import Actor, Supervisor
from aios_actors.actors.dead_letters import DeadLetter
from aios_actors.actors.errors import (
    ActorDied,
    AskCycle,
    BadActor,
    DeadlineExceeded,
    IntensityExceeded,
    LinkedActorDied,
    MailboxFull,
    NoMember,
    Refusal,
    StartFailed,
    StashFull,
    SystemClosed,
    UnhandledMessage,
    UnknownActor,
)
from aios_actors.actors.handlers import handler
from aios_actors.actors.info import ProcessInfo
from aios_actors.actors.mailbox import Clock
from aios_actors.actors.message import Message
from aios_actors.actors.monitor import Down, Monitor
from aios_actors.actors.ref import ActorRef
from aios_actors.actors.reply import Reply
from aios_actors.actors.routers import Broadcast, ConsistentHash, LeastPending, RoundRobin, Router
from aios_actors.actors.specs import Backoff, ChildSpec, Exit, MailboxSpec, SupervisorSpec
from aios_actors.actors.system import ActorSystem
from aios_actors.actors.timers import Timers
from aios_actors.actors.topics import Topic
from aios_actors.actors.trace import TraceEvent

__all__ = [
    "Activation",
    "Actor",
    "ActorDied",
    "ActorId",
    "ActorRef",
    "ActorSystem",
    "AskCycle",
    "Backoff",
    "BadActor",
    "Broadcast",
    "ChildSpec",
    "Clock",
    "ConsistentHash",
    "DeadLetter",
    "DeadlineExceeded",
    "Down",
    "Exit",
    "IntensityExceeded",
    "LeastPending",
    "LinkedActorDied",
    "MailboxFull",
    "MailboxSpec",
    "Message",
    "Monitor",
    "NoMember",
    "ProcessInfo",
    "Refusal",
    "Reply",
    "RoundRobin",
    "Router",
    "StartFailed",
    "StashFull",
    "Supervisor",
    "SupervisorSpec",
    "SystemClosed",
    "Timers",
    "Topic",
    "TraceEvent",
    "UnhandledMessage",
    "UnknownActor",
    "handler",
]
