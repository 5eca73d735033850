"""What an agent author imports."""

from aios_actors.engine.messages import ChatMessage, Sampling, ToolCall, ToolSchema
from aios_actors.sdk.agent import Agent, AgentSetup
from aios_actors.sdk.tool import Tool, ToolDefinitionError, tool

__all__ = [
    "Agent",
    "AgentSetup",
    "ChatMessage",
    "Sampling",
    "Tool",
    "ToolCall",
    "ToolDefinitionError",
    "ToolSchema",
    "tool",
]
