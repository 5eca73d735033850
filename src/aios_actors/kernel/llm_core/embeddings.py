"""Embedding requests on their way: which worker has which, and what follows when it dies.

A request goes to the worker of its model that has the fewest; one whose worker dies goes to another, or waits until it
is started again. Each is answered once: with its vectors, or with a typed error.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aios_actors.actors import Refusal, Reply
from aios_actors.engine.protocol import Cancel, Embed, Embedded, NodeFrame
from aios_actors.kernel.llm_core.messages import EmbedTexts
from aios_actors.syscalls.errors import EmbeddingFailed
from aios_actors.syscalls.llm import Embeddings

DEATHS = 3
"""A request under which more workers than this died is not tried again."""


@dataclass(slots=True)
class _Pending:
    """A request; `worker` is None while it waits for one."""

    request: EmbedTexts
    reply: Reply[Embeddings]
    worker: int | None = None
    deaths: int = 0


class EmbeddingRequests:
    """All embedding requests of the LLM core."""

    def __init__(self, serving: Callable[[str], Iterable[int]], send: Callable[[int, NodeFrame], None]) -> None:
        """Makes an empty set.

        Args:
            serving: numbers of the workers that serve a model now.
            send: passes a frame to a worker.
        """
        self._serving = serving
        self._send = send
        self._pending: dict[int, _Pending] = {}

    def add(self, request: EmbedTexts, reply: Reply[Embeddings]) -> None:
        """Takes a request, and cancels it when its asker does."""
        pending = self._pending[request.id] = _Pending(request, reply)
        reply.on_cancel(lambda: self._cancel(request.id))
        self._place(pending)

    def answered(self, embedded: Embedded) -> EmbedTexts | None:
        """A worker has done a request: its asker is told. The request, if anybody still waited."""
        pending = self._pending.pop(embedded.id, None)
        if pending is None:
            return None
        if embedded.error is not None:
            pending.reply.fail(EmbeddingFailed(embedded.error.message))
            return None
        vectors = tuple(struct.unpack(f"<{len(vector) // 4}f", vector) for vector in embedded.vectors)
        pending.reply.send(Embeddings(vectors, embedded.tokens))
        return pending.request

    def lost(self, worker: int) -> None:
        """A worker has died: what it had goes elsewhere."""
        for pending in [p for p in self._pending.values() if p.worker == worker]:
            pending.deaths += 1
            if pending.deaths > DEATHS:
                why = f"{pending.deaths} workers died while they embedded these texts; they are not tried again"
                self._fail(pending, EmbeddingFailed(why))
            else:
                self._place(pending)

    def serve(self, model: str) -> None:
        """A worker of this model is ready: what waits for one goes to it."""
        for pending in self._pending.values():
            if pending.worker is None and pending.request.model == model:
                self._place(pending)

    def give_up(self, model: str, error: Refusal) -> None:
        """There will be no worker of this model any more."""
        for pending in [p for p in self._pending.values() if p.request.model == model]:
            self._fail(pending, error)

    def _place(self, pending: _Pending) -> None:
        counts = dict.fromkeys(self._serving(pending.request.model), 0)
        for other in self._pending.values():
            if other.worker in counts:
                counts[other.worker] += 1
        pending.worker = min(counts, key=lambda worker: counts[worker], default=None)
        if pending.worker is not None:
            self._send(pending.worker, Embed(pending.request.id, pending.request.texts))

    def _fail(self, pending: _Pending, error: Refusal) -> None:
        del self._pending[pending.request.id]
        pending.reply.fail(error)

    def _cancel(self, request: int) -> None:
        pending = self._pending.pop(request, None)
        if pending is not None and pending.worker is not None:
            self._send(pending.worker, Cancel(request))
