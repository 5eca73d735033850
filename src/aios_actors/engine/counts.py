"""Counters of an engine.

Contract: numbers only go up; `stats` combines them with the state of the KV cache into one frozen Struct.
"""

from __future__ import annotations

from aios_actors.engine.kv import KvCache
from aios_actors.engine.protocol import EngineStats


class Counts:
    """What an engine did since its start."""

    def __init__(self) -> None:
        self.cached_tokens = 0
        self.forced_tokens = 0
        self.drafted_tokens = 0
        self.accepted_tokens = 0
        self.suspended = 0
        self._steps = 0
        self._batches = 0
        self._batch_tokens = 0
        self._prefill_tokens = 0
        self._decode_tokens = 0
        self._busy_s = 0.0

    def step(self, tokens: int, seconds: float) -> None:
        """A step computed `tokens` in `seconds`."""
        self._steps += 1
        self._batches += tokens > 0
        self._batch_tokens += tokens
        self._busy_s += seconds

    def computed(self, tokens: int, *, decoding: bool) -> None:
        """Tokens of one request went through the model."""
        if decoding:
            self._decode_tokens += tokens
        else:
            self._prefill_tokens += tokens

    def stats(self, kv: KvCache, running: int, waiting: int) -> EngineStats:
        """The counters, and the state now."""
        return EngineStats(
            steps=self._steps,
            running=running,
            waiting=waiting,
            parked=kv.parked,
            prefill_tokens=self._prefill_tokens,
            decode_tokens=self._decode_tokens,
            cached_tokens=self.cached_tokens,
            forced_tokens=self.forced_tokens,
            drafted_tokens=self.drafted_tokens,
            accepted_tokens=self.accepted_tokens,
            kv_tokens=kv.resident,
            kv_capacity=kv.capacity,
            suspended=self.suspended,
            pages=len(kv.pages),
            page_bytes=kv.pages.bytes,
            disk_bytes=kv.pages.disk_bytes,
            pages_out=kv.pages.paged_out,
            pages_in=kv.pages.paged_in,
            pages_ahead=kv.brought_back,
            pages_refused=kv.pages.refused,
            slots_moved=kv.moved,
            batch_fill=self._batch_tokens / max(self._batches, 1),
            step_s=self._busy_s / max(self._steps, 1),
            busy_s=self._busy_s,
            hit_rate=self.cached_tokens / max(self.cached_tokens + self._prefill_tokens, 1),
        )
