"""Generated tokens to visible text, as they come.

Contract: `push` takes one token's bytes and returns the text that is now certain to be visible; `finish` returns the
rest. Never half a character, never a part of a stop string, never the source of a tool call or of reasoning: what
cannot be decided yet (the beginning of a marker) is held back until it can. The state depends on the tokens alone, so
replaying them after an interruption leads to the same state.
"""

from __future__ import annotations

import codecs
from typing import Literal

from aios_actors.engine.families import Family
from aios_actors.engine.messages import ToolCall


class TextStream:
    """The text of one generation.

    `tools`: tool calls are expected. `reasoning`: the prompt ends in the midst of the model's reasoning.
    """

    def __init__(self, stop: tuple[str, ...], family: Family, *, tools: bool = False, reasoning: bool = False) -> None:
        self._stop = tuple(s for s in stop if s)
        self._family = family
        self._openers = family.openers if tools else ()
        self._bare_opener = family.bare_opener if tools else ""
        self._markers = (*self._stop, *self._openers, family.reasoning[0], *family.dropped)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._mode: Literal["text", "reasoning", "call"] = "reasoning" if reasoning else "text"
        self._pending = ""
        self._visible: list[str] = []
        self._reasoning: list[str] = []
        self._after_reasoning = False
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """Take the next token's bytes; the newly visible text. `stopped` is set once a stop string is complete."""
        if self.stopped:
            return ""
        self._pending += self._decoder.decode(piece)
        return self._show(self._advance())

    def finish(self, seed: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The end: the text that was held back, and the tool calls. `seed` makes the ids of the calls."""
        if self.stopped:
            return "", ()
        self._pending += self._decoder.decode(b"", True)
        shown = self._advance()
        rest, self._pending = self._pending, ""
        if self._mode == "reasoning":
            self._reasoning.append(rest)
            return self._show(shown), ()
        parsed = self._family.parse(rest, seed) if self._mode == "call" else None
        if parsed is None:
            return self._show(shown + rest), ()
        return self._show(shown + parsed.text), parsed.calls

    @property
    def text(self) -> str:
        """All visible text so far."""
        return "".join(self._visible)

    @property
    def reasoning(self) -> str:
        """What the model thought so far, without its markers."""
        return "".join(self._reasoning).strip()

    def _show(self, text: str) -> str:
        if text:
            self._visible.append(text)
        return text

    def _advance(self) -> str:
        """Consume what is decided of the pending text; the visible part of it."""
        shown = ""
        while self._mode != "call" and not self.stopped:
            mode, left = self._mode, len(self._pending)
            shown += self._advance_text(shown) if mode == "text" else self._advance_reasoning()
            if self._mode == mode and len(self._pending) == left:
                break
        return shown

    def _advance_text(self, shown: str) -> str:
        if self._after_reasoning:  # the blank lines that separate it from the answer are no part of either
            self._pending = self._pending.lstrip("\n")
            self._after_reasoning = not self._pending
        if self._bare_opener and not self._visible and not shown:
            start = self._pending.lstrip()
            if start.startswith(self._bare_opener):
                self._mode = "call"
                return ""
            if self._bare_opener.startswith(start):
                return ""
        found = [(at, marker) for marker in self._markers if (at := self._pending.find(marker)) >= 0]
        if not found:
            return self._take(len(self._pending) - _held_back(self._pending, self._markers))
        at, marker = min(found, key=lambda hit: (hit[0], -len(hit[1])))
        text = self._take(at)
        if marker in self._stop:
            self.stopped, self._pending = True, ""
        elif marker in self._openers:
            self._mode = "call"
        elif marker in self._family.dropped:
            self._take(len(marker))
        else:
            self._mode = "reasoning"
            self._take(len(marker))
        return text

    def _advance_reasoning(self) -> str:
        closer = self._family.reasoning[1]
        at = self._pending.find(closer)
        if at < 0:
            self._reasoning.append(self._take(len(self._pending) - _held_back(self._pending, (closer,))))
            return ""
        self._reasoning.append(self._take(at))
        self._take(len(closer))
        self._mode, self._after_reasoning = "text", True
        return ""

    def _take(self, length: int) -> str:
        taken, self._pending = self._pending[:length], self._pending[length:]
        return taken


def _held_back(text: str, markers: tuple[str, ...]) -> int:
    """The length of the longest end of `text` that begins one of `markers`."""
    longest = min(len(text), max((len(m) for m in markers), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(m.startswith(text[-n:]) for m in markers)), 0)
