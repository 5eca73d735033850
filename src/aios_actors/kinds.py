"""From the config's entries to what the kernel makes agents from, and to the tools that there are."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from aios_actors.config.classes import load_class, load_module, tools_of
from aios_actors.config.structs import AgentConfig, Config, chosen_adapters
from aios_actors.engine.messages import Sampling
from aios_actors.kernel.agents import AgentKind
from aios_actors.sdk import Agent, AgentSetup, Tool
from aios_actors.sdk.kernel import Kernel


def agent_kinds(config: Config, kernel: Callable[[str], Kernel]) -> dict[str, AgentKind]:
    """The config's agents by name. `kernel` is whom the agent of a name asks, once the node has started."""
    return {name: _kind(name, entry, load_class(entry.class_), kernel) for name, entry in config.agents.items()}


def _kind(name: str, entry: AgentConfig, cls: type[Agent], kernel: Callable[[str], Kernel]) -> AgentKind:
    tools = entry.tools if entry.tools is not None else tuple(_tool_name(each) for each in cls.tools)

    def make(agent: str) -> Agent:
        made = cls(**entry.options)
        sampling = Sampling(**msgspec.structs.asdict(entry.sampling))
        adapters = chosen_adapters(entry)
        asked, steps, overflow = kernel(agent), entry.max_steps, entry.overflow
        made.connect(AgentSetup(agent, asked, entry.model, sampling, entry.system, tools, steps, adapters, overflow))
        return made

    description = (cls.__doc__ or "").strip().partition("\n")[0]
    return AgentKind(name, entry, make, description, tools)


def user_tools(config: Config) -> Iterator[Tool[..., Any]]:
    """The tools of the modules that the config names, and those in the agents' classes."""
    for module in config.tools.modules:
        yield from tools_of(load_module(module))
    for entry in config.agents.values():
        yield from (each for each in load_class(entry.class_).tools if isinstance(each, Tool))


def _tool_name(declared: "Tool[..., Any] | str") -> str:
    return declared if isinstance(declared, str) else declared.name
