"""Conversations that outgrow the model's window: what is dropped, and what stands in its place.

Contract: the system prompt, the last question, and the newest step stay. What is dropped is whole turns, oldest first:
a question with all that was said to it, or, within the last question, a tool call with its results; never half of a
pair. What was dropped stays dropped in later calls of the same conversation, so that they share a prefix and its KV is
kept. Nothing is counted here: the engine says when a conversation does not fit and how long it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from aios_actors.engine.messages import ChatMessage, Sampling
from aios_actors.sdk.kernel import Kernel
from aios_actors.syscalls.errors import ContextOverflow
from aios_actors.syscalls.llm import Chat, ChatReply, Usage
from aios_actors.syscalls.memory import Add

Overflow = Literal["error", "slide", "summarise"]

KEEP = 0.5
"""What is kept of the window when something has to go. Less means to cut less often, and to forget more."""

SUMMARY = 1 / 8
"""A summary's most tokens, as a share of the window."""

SHORT = 64
"""Characters that are not divided any further for a summary: if they do not fit, it is not for their length."""

_SUMMARISE = (
    "Sum up the conversation below for yourself: names, numbers, decisions, results of tools, what is left to do. "
    "Write plain sentences and nothing else."
)
_HEADING = "Summary of the conversation so far:"


class Cut(msgspec.Struct, frozen=True):
    """What a conversation has lost: the dropped messages by their place in it, and a summary of them."""

    dropped: Mapping[int, ChatMessage] = {}
    summary: str = ""

    def fits(self, messages: Sequence[ChatMessage]) -> bool:
        """Whether this is a cut of a conversation that begins like `messages`."""
        return all(place < len(messages) and messages[place] == message for place, message in self.dropped.items())

    def apply(self, messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
        """What the model is to see. The summary is put into the system prompt, which every template accepts."""
        kept = [message for place, message in enumerate(messages) if place not in self.dropped]
        if self.summary:
            first = kept.pop(0).content if kept and kept[0].role == "system" else ""
            kept.insert(0, ChatMessage("system", f"{first}\n\n{_HEADING}\n{self.summary}".lstrip()))
        return tuple(kept)


class Windows:
    """The cuts of one agent's conversations."""

    def __init__(self, kernel: Kernel, overflow: Overflow) -> None:
        """`kernel`: whom syscalls go to; `overflow`: what to do, "slide" or "summarise"."""
        self._kernel = kernel
        self._summarising = overflow == "summarise"
        self._cuts: dict[str, Cut] = {}

    async def complete(self, call: Chat) -> ChatReply:
        """Completes a conversation, cut as far as need be; the reply tells what was dropped.

        Raises:
            ContextOverflow: what has to stay does not fit; and the errors of `Chat` and of `memory.Add`.
        """
        cut = self._cuts.get(call.conversation, Cut())
        if not cut.fits(call.messages):
            cut = Cut()
        extra = Usage()
        while True:
            try:
                fitted = replace(call, messages=cut.apply(call.messages), reserve=call.sampling.max_tokens)
                reply = await self._kernel.ask(fitted)
            except ContextOverflow as overflow:
                places = _to_drop(call.messages, cut, overflow)
                if not places:
                    raise
                cut, usage = await self._drop(call, cut, places, overflow.window)
                extra += usage
            else:
                self._cuts[call.conversation] = cut
                return replace(reply, usage=reply.usage + extra, dropped=len(cut.dropped), summary=cut.summary)

    async def _drop(self, call: Chat, cut: Cut, places: list[int], window: int) -> tuple[Cut, Usage]:
        gone = {place: call.messages[place] for place in places}
        dropped = {**cut.dropped, **gone}
        if not self._summarising:
            return Cut(dropped), Usage()
        text = "\n".join(map(_line, gone.values()))
        summary, usage = await self._sum_up(call, cut.summary, text, max(int(window * SUMMARY), 16))
        await self._kernel.ask(Add(summary, ("summary", call.conversation)))
        return Cut(dropped, summary), usage

    async def _sum_up(self, call: Chat, summary: str, text: str, most: int) -> tuple[str, Usage]:
        """A summary of an earlier one and `text`; of more than fits the window, piece by piece."""
        begin, size, usage = 0, len(text), Usage()
        while begin < len(text):
            earlier = f"{_HEADING} {summary}\n" if summary else ""
            asked = Chat(
                messages=(
                    ChatMessage("system", _SUMMARISE), ChatMessage("user", earlier + text[begin : begin + size])
                ),
                model=call.model,
                sampling=Sampling(max_tokens=most, seed=call.sampling.seed),
                conversation=f"{call.conversation}/summary",
                reserve=most,
                adapters=call.adapters,
            )  # fmt: skip
            try:
                reply = await self._kernel.ask(asked)
            except ContextOverflow:
                if size < SHORT:
                    raise
                size //= 2
                continue
            summary, usage, begin = reply.text.strip(), usage + reply.usage, begin + size
        return summary, usage


def turns(messages: Sequence[ChatMessage]) -> Iterator[list[int]]:
    """The places of each turn that may be dropped, oldest first."""
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
    turn: list[int] = []
    for place, message in enumerate(messages):
        begins = message.role == "user" if place <= last else message.role == "assistant"
        if begins and turn:
            yield turn
            turn = []
        if message.role != "system" and place != last:
            turn.append(place)


def _to_drop(messages: Sequence[ChatMessage], cut: Cut, overflow: ContextOverflow) -> list[int]:
    """The places to drop next: so many turns that what stays should fill no more than KEEP, but one at least.

    A message's tokens are estimated by its share of the text, since only the whole has been counted.
    """
    sizes = [0 if place in cut.dropped else len(_line(message)) + 8 for place, message in enumerate(messages)]
    total, wanted = sum(sizes), overflow.window * KEEP
    places: list[int] = []
    for turn in turns(messages):
        left = total - sum(sizes[place] for place in places)
        if places and overflow.tokens * left <= wanted * total:
            break
        places += [place for place in turn if place not in cut.dropped]
    return places


def _line(message: ChatMessage) -> str:
    """A message as a line of a transcript."""
    calls = (f"{call.name}({msgspec.json.encode(call.arguments).decode()})" for call in message.tool_calls)
    return f"{message.role}: {' '.join(filter(None, (message.content, *calls)))}"
