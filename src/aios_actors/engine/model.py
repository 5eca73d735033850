"""A loaded model with its context: what the step loop computes with.

Contract: `load` gives a `Model` or raises `LoadError` with a code for the node and a message for the user. The model
owns every llama.cpp object behind it; `close` frees them, once. All but tokenising belongs to one thread.
llama.cpp's own log lines go to structlog at debug level, never to stdout; its last error lines become the message of a
`LoadError`.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
import numpy.typing as npt
import structlog

from aios_actors.engine import attention, device, gguf
from aios_actors.engine.abort import AbortFlag
from aios_actors.engine.adapters import AdapterError, Adapters
from aios_actors.engine.machine import usable_cpus
from aios_actors.engine.protocol import StartErrorCode
from aios_actors.engine.spec import ModelInfo, WorkerSpec
from aios_actors.engine.threads import Threads
from aios_actors.engine.vocab import Vocab

Logits = npt.NDArray[np.float32]
_LARGEST_SCRATCH = 64 << 20  # bytes; a larger state is rarely worth moving, and memory for it would be kept
_LOG_ERROR = 4  # GGML_LOG_LEVEL_ERROR, in the numbering since DEBUG became 1


class LoadError(Exception):
    """Raised when a model cannot be loaded or its context not be made."""

    def __init__(self, code: StartErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class LlamaLog:
    """Takes llama.cpp's log lines: to structlog at debug level, the last ones kept to explain a failure."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=4)
        self._log = structlog.get_logger("llama.cpp")
        self._callback = llama_cpp.llama_log_callback(self._receive)

    def install(self) -> None:
        """Take the lines of this process from here on.

        llama.cpp keeps the callback for the whole process and may call it when nothing here is left that refers to it:
        after a failed load, or while an older model is freed. So it gets a reference that is never given back.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._callback))
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _data: Any) -> None:
        line = text.decode("utf-8", "replace").strip()
        if len(line) < 2:  # dots of progress
            return
        if level == _LOG_ERROR:
            self.errors.append(line)
        self._log.debug(line)

    def explain(self) -> str:
        """The last error lines, as the end of a message."""
        return f": {'; '.join(self.errors)}" if self.errors else ""


class _Context(NamedTuple):
    """A llama.cpp context, the settings that it was made with, and whether our kernel computes its attention."""

    spec: WorkerSpec
    pointer: Any
    own_attention: bool


class Model:
    """Weights, vocabulary and one context. Made by `load`."""

    def __init__(self, made: _Context, pointer: Any, header: gguf.GgufHeader, log: LlamaLog) -> None:
        self.spec = spec = made.spec
        self.own_attention = made.own_attention
        context = made.pointer
        self.adapters = Adapters(pointer, context, spec.adapters)
        self.pointer = pointer
        self.context = context
        self.memory = llama_cpp.llama_get_memory(context)
        self.vocab = Vocab(llama_cpp.llama_model_get_vocab(pointer))
        params = device.context_params(spec, pointer)
        self.sequences = device.width(spec, pointer)
        self.slots = int(llama_cpp.llama_n_seq_max(context))
        self.batch = int(llama_cpp.llama_n_batch(context))
        self.cells = int(llama_cpp.llama_n_ctx(context))
        self.context_length = device.context_length(spec, pointer)
        self.kv_types = device.kv_types(spec, pointer)
        # Weights and KV layout: a page of one digest fits no model of another.
        binding = "/".join((header.fingerprint, *self.kv_types))
        self.digest = hashlib.blake2b(binding.encode(), digest_size=16).hexdigest()
        self.unified = bool(params.kv_unified)
        self._flash_attention = {0: "off", 1: "on"}.get(params.flash_attn_type, "auto")
        self._abort = AbortFlag(context)
        small = params.n_threads == 1
        most = min(device.WIDE_THREADS, usable_cpus()) if small else params.n_threads
        self._adapted = None if spec.threads or spec.threads_batch else Threads(most)
        self._single = device.WIDE_TOKENS if small else 0  # a batch of fewer tokens has one thread
        self._header = header
        self._log = log
        self._samplers: dict[int, Any] = {}
        self._scratch: dict[int, npt.NDArray[np.uint8]] = {}

    @property
    def context_train(self) -> int:
        """The context length in tokens that the model was trained with."""
        return int(llama_cpp.llama_model_n_ctx_train(self.pointer))

    def info(self, family: str) -> ModelInfo:
        """What the node learns of the model; `family` is its template's."""
        spec, header = self.spec, self._header
        return ModelInfo(
            name=spec.name or header.name,
            architecture=header.architecture,
            digest=self.digest,
            vocabulary=self.vocab.size,
            parameters=int(llama_cpp.llama_model_n_params(self.pointer)),
            bytes=int(llama_cpp.llama_model_size(self.pointer)),
            context=self.context_length,
            context_train=self.context_train,
            sequences=self.sequences,
            cells=self.cells,
            batch=self.batch,
            threads=int(llama_cpp.llama_n_threads(self.context)),
            gpu_layers=spec.gpu_layers if device.uses_gpu(spec) else 0,
            kv_unified=self.unified,
            flash_attention=self._flash_attention,
            own_attention=self.own_attention,
            kv_type_k=self.kv_types[0],
            kv_type_v=self.kv_types[1],
            mmap=device.uses_mmap(spec, header),
            kv_bytes_per_token=header.kv_bytes(1, 1, *self.kv_types),
            family=family,
            eog_tokens=tuple(sorted(self.vocab.eog)),
            bos_token=self.vocab.bos,
            has_template=self.chat_template() is not None,
            adapters=self.adapters.names,
        )

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's metadata as text, or None."""
        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        if length < 0:
            return None
        if length >= len(buffer):
            buffer = ctypes.create_string_buffer(length + 1)
            llama_cpp.llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def chat_template(self) -> str | None:
        """The template of the config or of the metadata."""
        return self.spec.chat_template or self.metadata("tokenizer.chat_template")

    def decode(self, batch: llama_cpp.llama_batch, adapters: str = "") -> int:
        """Compute a batch with the adapters of a key; llama.cpp's return code. A GPU only begins with it: see `wait`.

        That is 0 done, 1 no room, 2 aborted, negative an error.
        """
        self.adapters.apply(adapters)
        self._adapt_threads(batch.n_tokens)
        self._abort.lower()
        code = int(llama_cpp.llama_decode(self.context, batch))
        if self._adapted is not None:
            self._adapted.ended()
        return code

    def wait(self) -> None:
        """Until the last batch is computed."""
        llama_cpp.llama_synchronize(self.context)

    def _adapt_threads(self, tokens: int) -> None:
        """Leave CPUs to what else runs on them, unless the spec says how many threads there are."""
        if self._adapted is not None:
            number = 1 if tokens < self._single else self._adapted.wanted()
            llama_cpp.llama_set_n_threads(self.context, number, number)

    def abort(self) -> None:
        """Make the decode call under way return 2 soon; from any thread. Without one it does nothing."""
        self._abort.raise_()

    def logits(self, rows: int) -> Logits:
        """A view of the last decode's logits, in the batch's order; shape (rows, vocabulary). Valid until the next."""
        first = ctypes.addressof(llama_cpp.llama_get_logits(self.context).contents)
        memory = (ctypes.c_float * (rows * self.vocab.size)).from_address(first)
        return np.frombuffer(memory, np.float32).reshape(rows, self.vocab.size)

    def sample_on_device(self, sequence: int, greedy: bool) -> bool:
        """Let the device choose the likeliest tokens of `sequence` from now on, or not; whether it does.

        All logits are copied to the host nevertheless. A temperature of 0 would leave one to copy, but llama.cpp then
        may give the memory of that result to another sequence, where two graphs have the same number of nodes.
        """
        wanted = greedy and self.spec.device_sampling
        if not wanted:
            if (sampler := self._samplers.pop(sequence, None)) is not None:
                llama_cpp.llama_set_sampler(self.context, sequence, None)
                llama_cpp.llama_sampler_free(sampler)
            return False
        if sequence not in self._samplers:
            chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
            llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
            if not llama_cpp.llama_set_sampler(self.context, sequence, chain):
                llama_cpp.llama_sampler_free(chain)
                return False
            self._samplers[sequence] = chain
        return True

    def sampled(self, place: int) -> int:
        """The token that the device chose after the one at `place` of the last batch."""
        return int(llama_cpp.llama_get_sampled_token_ith(self.context, place))

    def last_error(self) -> str:
        """What llama.cpp logged last as an error, as the end of a message."""
        return self._log.explain()

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of sequence `source` those of `target`, which holds none of these positions.

        Split streams are copied whole, so that `target` must be empty there; what is too much is cut off afterwards.
        """
        if self.unified:
            llama_cpp.llama_memory_seq_cp(self.memory, source, target, 0, length)
            return
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, -1, -1)
        self.truncate(target, length)

    def truncate(self, sequence: int, length: int) -> None:
        """Drop all tokens of `sequence` from position `length` on."""
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, length, -1)

    def resident(self, sequence: int) -> int:
        """How many tokens of `sequence` the KV cache holds."""
        return int(llama_cpp.llama_memory_seq_pos_max(self.memory, sequence)) + 1

    @property
    def can_rewind(self) -> bool:
        """Whether tokens can be taken back one by one; a recurrent state cannot."""
        recurrent = llama_cpp.llama_model_is_recurrent(self.pointer) or llama_cpp.llama_model_is_hybrid(self.pointer)
        return not recurrent

    def save(self, sequence: int, first: int = 0, scratch: int | None = None) -> memoryview:
        """The KV state of `sequence`; with `first` only that from this position on, and what is before it is dropped.

        With `scratch`, a number, it is valid until the next call with the same one: memory that was used before takes
        states in a quarter of the time. Not right after `copy` to the sequence: the next decode carries that out.
        """
        if first:
            llama_cpp.llama_memory_seq_rm(self.memory, sequence, 0, first)
        size = llama_cpp.llama_state_seq_get_size(self.context, sequence)
        buffer = np.empty(size, np.uint8) if scratch is None else self._scratch_of(scratch, size)
        written = llama_cpp.llama_state_seq_get_data(self.context, _bytes_pointer(buffer), size, sequence)
        return buffer.data[:written]

    def _scratch_of(self, number: int, size: int) -> npt.NDArray[np.uint8]:
        if size > _LARGEST_SCRATCH:
            return np.empty(size, np.uint8)
        if len(self._scratch.get(number, ())) < size:
            self._scratch[number] = np.empty(size, np.uint8)
        return self._scratch[number]

    def restore(self, sequence: int, state: memoryview) -> bool:
        """Replace the KV state of `sequence`; False if llama.cpp refuses it (the sequence is then empty)."""
        buffer = np.frombuffer(state, np.uint8)
        done = llama_cpp.llama_state_seq_set_data(self.context, _bytes_pointer(buffer), len(state), sequence)
        if done != len(state):
            self.truncate(sequence, 0)
        return bool(done == len(state))

    def close(self) -> None:
        """Free the context and the weights; no method may be called afterwards."""
        llama_cpp.llama_free(self.context)
        for sampler in self._samplers.values():
            llama_cpp.llama_sampler_free(sampler)
        llama_cpp.llama_model_free(self.pointer)


def load(spec: WorkerSpec, on_progress: Callable[[float], None] = lambda _: None) -> Model:
    """Load the model and make its context. `on_progress` gets 0 to 1. Raises `LoadError`."""
    header = _header(spec)
    log = LlamaLog()
    log.install()
    llama_cpp.llama_backend_init()
    if spec.gpu_layers and not llama_cpp.llama_supports_gpu_offload():
        structlog.get_logger("engine").warning(
            "gpu_layers has no effect: this build of llama.cpp has no GPU support",
            model=spec.name,
            remedy='install it with --wheels cuda, or build it with CMAKE_ARGS="-DGGML_CUDA=on"',
        )

    def progress(done: float, _data: Any) -> bool:
        on_progress(done)
        return True

    try:
        params, keep = device.model_params(spec, header, llama_cpp.llama_progress_callback(progress))
    except device.SpecError as error:
        raise LoadError("bad_spec", str(error)) from error
    pointer = llama_cpp.llama_model_load_from_file(spec.model_path.encode(), params)
    del keep  # the parameters, and what they point to, were needed until here
    if not pointer:
        raise LoadError("load_failed", f"llama.cpp cannot load {spec.model_path}{log.explain()}")
    made = _context_with_kernel(spec, pointer, log) or _Context(spec, _make_context(spec, pointer, log), False)
    try:
        return Model(made, pointer, header, log)
    except AdapterError as error:
        llama_cpp.llama_free(made.pointer)
        llama_cpp.llama_model_free(pointer)
        raise LoadError("bad_adapter", f"{error}{log.explain()}") from error


def _context_with_kernel(spec: WorkerSpec, pointer: Any, log: LlamaLog) -> _Context | None:
    """A context whose attention our own kernel computes; None if it is not for this worker or not for this model."""
    if device.uses_gpu(spec) or not attention.suits(spec) or (kernel := attention.offer()) is None:
        return None
    kernel.took_all()
    preferred = attention.with_kernel(spec)
    made = _Context(preferred, _make_context(preferred, pointer, log), True)
    if kernel.took_all():
        return made
    llama_cpp.llama_free(made.pointer)
    return None


def _make_context(spec: WorkerSpec, pointer: Any, log: LlamaLog) -> Any:
    try:
        params = device.context_params(spec, pointer)
    except device.SpecError as error:
        llama_cpp.llama_model_free(pointer)
        raise LoadError("bad_spec", str(error)) from error
    context = llama_cpp.llama_init_from_model(pointer, params)
    if not context:
        llama_cpp.llama_model_free(pointer)
        raise LoadError(
            "context_failed",
            f"llama.cpp cannot make a KV cache of {params.n_ctx} cells for {device.width(spec, pointer)} sequences of "
            f"{spec.model_path}; lower context, sequences or cells{log.explain()}",
        )
    return context


def _header(spec: WorkerSpec) -> gguf.GgufHeader:
    """What the file says. Raises `LoadError` for a file that cannot be a model."""
    path = Path(spec.model_path)
    try:
        return gguf.read_header(path)
    except FileNotFoundError as error:
        raise LoadError("no_file", f"there is no file {path}") from error
    except OSError as error:
        raise LoadError("no_file", f"cannot read {path}: {error.strerror}") from error
    except gguf.NotGguf as error:
        raise LoadError("not_gguf", str(error)) from error


def _bytes_pointer(buffer: npt.NDArray[np.uint8]) -> Any:
    return ctypes.cast(buffer.ctypes.data, ctypes.POINTER(ctypes.c_uint8))


def as_array(tokens: Sequence[int]) -> npt.NDArray[np.int32]:
    """Token ids as numpy wants them; shape (tokens,)."""
    return np.asarray(tokens, dtype=np.int32)
