"""The ReAct loop (Yao et al. 2022, arXiv 2210.03629): the model calls tools, sees what they say, and answers."""

from aios_actors.engine.messages import ChatMessage, ToolCall
from aios_actors.sdk.clients import ToolsClient
from aios_actors.sdk.llm import LlmClient
from aios_actors.sdk.render import render
from aios_actors.syscalls.errors import NoAnswer, NodeStopping, ReplayDiverged, SyscallError


async def react(llm: LlmClient, tools: ToolsClient, task: str, *, max_steps: int) -> str:
    """Solves a task with tools, one step at a time.

    Args:
        llm: the model; its system prompt opens the conversation.
        tools: what the model may call. An error of a tool is shown to the model, which can try something else.
        task: what to do.
        max_steps: most LLM calls.

    Raises:
        NoAnswer: there was no final answer within `max_steps`, or it was cut off.
        SyscallError: of the LLM calls.
    """
    schemas = await tools.schemas()
    messages = llm.opening(task)
    for _ in range(max_steps):
        reply = await llm.chat(messages, tools=schemas)
        if reply.finish == "length":
            raise NoAnswer(f"a reply was cut off after {reply.usage.tokens_out} tokens; raise the agent's max_tokens")
        if not reply.tool_calls:
            return reply.text.strip()
        messages.append(ChatMessage("assistant", reply.text, tool_calls=reply.tool_calls))
        for call in reply.tool_calls:
            content = await call_tool(tools, call)
            messages.append(ChatMessage("tool", content, tool_call_id=call.id, name=call.name))
    raise NoAnswer(f"no answer after {max_steps} LLM calls; raise the agent's max_steps, or give it a simpler task")


async def call_tool(tools: ToolsClient, call: ToolCall) -> str:
    """Makes a call that the model wants and returns what the model is to see of its result."""
    try:
        return render(await tools.call(call.name, **call.arguments), call.name)
    except (NodeStopping, ReplayDiverged):
        raise
    except SyscallError as error:
        return render(error)
