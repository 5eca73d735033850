"""What travels between actors.

A message is a frozen msgspec Struct whose type argument is the type of its reply: `class Add(Message[int])` is answered
with an `int`, and type checkers see that through `ActorRef.ask`. A message that expects no answer is a `Message[None]`.
Inside one process messages are passed by reference, so their fields may hold anything; only what crosses a process
border must be encodable. Actors dispatch on the exact type of a message.
"""

from typing import Generic, TypeVar

import msgspec

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Message(msgspec.Struct, Generic[R_co], frozen=True):
    """Base of every message; `R_co` is the type of the reply to it."""
