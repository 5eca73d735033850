"""Conversations for chat templates that know less: no tools, or no system role.

Contract: pure functions from messages to messages. What a template cannot say is said in words instead, so that every
chat model can be an agent's: tools are described in the system text and called as Hermes models call them, results
come back as the user's turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from aios_actors.engine.messages import ChatMessage, ToolCall, ToolSchema

_HOW_TO_CALL = (
    "You can call these tools, one at a time:\n{tools}\n"
    "To call one, answer with nothing but\n"
    '<tool_call>{{"name": "NAME", "arguments": {{...}}}}</tool_call>\n'
    "and you get its result. When you need no tool, answer in plain words."
)


def spell_out_tools(messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]) -> tuple[ChatMessage, ...]:
    """The same conversation without tools, tool calls and tool turns: all of them are text."""
    spelled = [_spell_out(message) for message in messages]
    if tools:
        listed = "\n".join(json.dumps(msgspec.to_builtins(tool), ensure_ascii=False) for tool in tools)
        manual = _HOW_TO_CALL.format(tools=listed)
        if spelled and spelled[0].role == "system":
            spelled[0] = msgspec.structs.replace(spelled[0], content=f"{spelled[0].content}\n\n{manual}")
        else:
            spelled.insert(0, ChatMessage("system", manual))
    return _merge_neighbours(spelled)


def fold_system(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The same conversation without a system turn: its text begins the user's first turn."""
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    others = [m for m in messages if m.role != "system"]
    first = next((i for i, m in enumerate(others) if m.role == "user"), None)
    if first is None:
        return (ChatMessage("user", system), *others)
    others[first] = msgspec.structs.replace(others[first], content=f"{system}\n\n{others[first].content}")
    return tuple(others)


def _spell_out(message: ChatMessage) -> ChatMessage:
    if message.role == "tool":
        return ChatMessage("user", f"Result of {message.name or 'the tool'}:\n{message.content}")
    calls = "".join(_call_text(call) for call in message.tool_calls)
    return msgspec.structs.replace(message, content=message.content + calls, tool_calls=())


def _call_text(call: ToolCall) -> str:
    body = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
    return f"<tool_call>{body}</tool_call>"


def _merge_neighbours(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Neighbouring turns of the user as one: many templates want the roles to alternate."""
    merged: list[ChatMessage] = []
    for message in messages:
        if merged and message.role == merged[-1].role == "user":
            content = f"{merged[-1].content}\n\n{message.content}"
            merged[-1] = msgspec.structs.replace(merged[-1], content=content)
        else:
            merged.append(message)
    return tuple(merged)
