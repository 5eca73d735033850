"""Texts to vectors, on a context of its own beside the one that generates; both share the weights.

Contract: `submit` takes a request and `step` computes one batch of texts and returns the requests that are done with
it; each ends in exactly one `Embedded`, which has a normalised vector for each text, in order, or a fault. A batch is
as large as a step of the engine (or as one text that is larger), so that generations beside it are not held up for
longer than by a prefill. The context is made for the first request, and the pooling is that of the settings or of the
model's metadata; a model without either gives no embeddings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from aios_actors.engine import device
from aios_actors.engine.batch import Batch
from aios_actors.engine.model import Model
from aios_actors.engine.protocol import Embed, Embedded, ErrorCode, Fault

WINDOW = 2048  # most tokens of a text: llama.cpp pools within one micro-batch, whose buffers grow with it
TEXTS = 32  # most texts in a batch
_POOLING = {
    "mean": llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    "cls": llama_cpp.LLAMA_POOLING_TYPE_CLS,
    "last": llama_cpp.LLAMA_POOLING_TYPE_LAST,
}
_NAMES = {number: name for name, number in _POOLING.items()}


@dataclass(slots=True)
class _Request:
    """A request on its way: the tokens of its texts, and the vectors of the first of them."""

    id: int
    texts: list[list[int]]
    vectors: list[bytes] = field(default_factory=list)


class Embedder:
    """Embeds texts with one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.pooling = pooling_of(model)
        self.window = min(model.context_length, model.context_train or WINDOW, WINDOW)
        self._requests: deque[_Request] = deque()
        self._done: list[Embedded] = []
        self._context: Any = None
        self._batch = Batch(self.window)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._requests or self._done)

    def submit(self, embed: Embed) -> None:
        """Take a request. One that cannot be served is answered in the next step."""
        if not self.pooling:
            name = self._model.spec.name or "this model"
            remedy = f'set pooling = "mean", "last" or "cls" in [models.{name}] if it was trained for that'
            self._refuse(embed.id, "no_embeddings", f"{name} is no embedding model: it names no pooling; {remedy}")
            return
        vocab = self._model.vocab
        texts = [vocab.tokenize(text, add_bos=True) for text in embed.texts]
        for place, tokens in enumerate(texts):
            if not tokens:
                self._refuse(embed.id, "bad_prompt", f"texts[{place}] is empty; there is nothing to embed")
                return
            if len(tokens) > self.window:
                has = f"texts[{place}] has {len(tokens)} tokens, and embeddings take at most {self.window}"
                self._refuse(embed.id, "prompt_too_long", f"{has}; split the text")
                return
        self._requests.append(_Request(embed.id, texts))

    def cancel(self, request: int) -> None:
        """Nobody waits for a request any more; an unknown id is ignored."""
        self._requests = deque(r for r in self._requests if r.id != request)

    def step(self) -> tuple[Embedded, ...]:
        """Compute one batch; the requests that are now done."""
        chosen = list(self._choose())
        if chosen:
            self._compute(chosen)
        while self._requests and len(self._requests[0].vectors) == len(self._requests[0].texts):
            done = self._requests.popleft()
            self._done.append(Embedded(done.id, tuple(done.vectors), sum(map(len, done.texts))))
        finished, self._done = tuple(self._done), []
        return finished

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            llama_cpp.llama_free(self._context)

    def _choose(self) -> Iterator[tuple[_Request, list[int]]]:
        """The next texts, in order, as far as a batch goes; at least one."""
        room, count = min(self._model.batch, self.window), 0
        for request in self._requests:
            for tokens in request.texts[len(request.vectors) :]:
                if count and (len(tokens) > room or count == TEXTS):
                    return
                room, count = room - len(tokens), count + 1
                yield request, tokens

    def _compute(self, chosen: list[tuple[_Request, list[int]]]) -> None:
        if self._context is None:
            self._context = self._make_context()
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_clear(memory, False)
        self._batch.clear()
        for sequence, (_, tokens) in enumerate(chosen):
            self._batch.add(sequence, tokens, 0, outputs=len(tokens))
        code = llama_cpp.llama_decode(self._context, self._batch.raw) if self._context else -1
        if code != 0:
            what = f"llama.cpp cannot embed {self._batch.size} tokens (code {code}){self._model.last_error()}"
            for number in {request.id for request, _ in chosen}:
                self.cancel(number)
                self._refuse(number, "decode_failed", what)
            return
        for sequence, (request, _) in enumerate(chosen):
            request.vectors.append(self._vector(sequence))

    def _vector(self, sequence: int) -> bytes:
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, sequence)
        width = llama_cpp.llama_model_n_embd(self._model.pointer)
        vector: npt.NDArray[np.float32] = np.ctypeslib.as_array(pointer, shape=(width,)).astype("<f4")
        return bytes((vector / max(float(np.linalg.norm(vector)), 1e-12)).astype("<f4").tobytes())

    def _make_context(self) -> Any:
        params = device.context_params(self._model.spec, self._model.pointer)
        # One pool of cells for all texts of a batch: they are of different lengths, and none stays.
        params.n_ctx = params.n_batch = params.n_ubatch = self.window
        params.n_seq_max, params.kv_unified = TEXTS, True
        params.embeddings, params.pooling_type = True, _POOLING[self.pooling]
        return llama_cpp.llama_init_from_model(self._model.pointer, params)

    def _refuse(self, request: int, code: ErrorCode, message: str) -> None:
        self._done.append(Embedded(request, error=Fault(code, message)))


def pooling_of(model: Model) -> str:
    """How the model's token vectors become one: "mean", "cls", "last"; "" if neither settings nor metadata say."""
    if model.spec.pooling != "auto":
        return "" if model.spec.pooling == "none" else model.spec.pooling
    named = model.metadata(f"{model.metadata('general.architecture')}.pooling_type")
    return _NAMES.get(int(named), "") if named and named.isdigit() else ""
