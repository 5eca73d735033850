"""What serves a fleet: something that completes a prompt of token ids.

Contract: prompts are token ids and answers come back as token ids, so that an agent's next prompt continues exactly
what the endpoint has in its cache; no endpoint loses its cache to a detour through text. Times are readings of
`time.perf_counter` in this process.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from msgspec import Struct


class EndpointError(Exception):
    """Raised when an endpoint cannot be reached or refuses a request; the message has its own words."""


class Request(Struct, frozen=True):
    """One completion, sampled greedily.

    Attributes:
        agent: name of the agent, whose earlier prompts this one continues.
        tokens: the prompt.
        max_tokens: length of the answer, which no end-of-generation token may cut short; with a schema, the most.
        schema: JSON Schema that the answer satisfies; None for free text.
        report_s: how often our own worker tells its tokens, in seconds; 0: with each step.
        may_end: our own worker lets an end-of-generation token end the answer, and so asks nothing of the logits.
    """

    agent: str
    tokens: tuple[int, ...]
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    report_s: float = 0.0
    may_end: bool = False


class Answer(Struct, frozen=True):
    """What came back.

    Attributes:
        tokens: the generated ids.
        stamps: when each piece of it arrived, the first one being the time of the first token.
        cached: tokens of the prompt that were not computed for this request.
        forced: generated tokens that were not sampled, because the schema left no choice.
    """

    tokens: tuple[int, ...]
    stamps: tuple[float, ...]
    cached: int
    forced: int = 0


class Endpoint(Protocol):
    """Completes prompts; any number at the same time."""

    async def complete(self, request: Request, on_first: Callable[[], None] | None = None) -> Answer:
        """Completes a prompt.

        Args:
            request: what to complete.
            on_first: called when the first token has come, from whatever thread.

        Raises:
            EndpointError: there is no complete answer.
        """
        ...

    def resident(self) -> int:
        """Resident bytes of the process that serves; 0 if unknown."""
        ...


class Side(NamedTuple):
    """One side of a comparison: its name with its settings, and how to start it.

    Attributes:
        product: whose it is; the best setting of each product is compared with ours.
        name: the product with its settings.
        start: entering the context starts the endpoint, leaving it stops it.
    """

    product: str
    name: str
    start: AbstractAsyncContextManager[Endpoint]
