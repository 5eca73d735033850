"""From config entries to agents: sampling, prompts and tools arrive as written."""

from typing import cast

import msgspec

from aios_actors.actors import ActorRef
from aios_actors.config.structs import Config, SamplingConfig
from aios_actors.engine.messages import Sampling
from aios_actors.kinds import agent_kinds, user_tools

KERNEL = cast(ActorRef, object())


def config(**entry: object) -> Config:
    return msgspec.convert({"agents": {"a": {"class": "agents.clerk:Clerk", **entry}}}, Config)


def test_an_entry_without_tools_has_those_of_its_class() -> None:
    kinds = agent_kinds(config(), lambda agent: KERNEL)
    assert kinds["a"].tools[:2] == ("storage.write", "storage.read")
    assert kinds["a"].description == "You are a clerk who keeps files."


def test_the_entrys_tools_and_prompt_replace_the_classs() -> None:
    made = agent_kinds(config(tools=["memory.*"], system="Be brief."), lambda agent: KERNEL)["a"].make("a-7")
    assert (made.name, made.setup.tools, made.system_prompt) == ("a-7", ("memory.*",), "Be brief.")  # type: ignore[attr-defined]


def test_every_sampling_setting_of_the_config_reaches_the_engine() -> None:
    written = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1, "seed": 7,
               "frequency_penalty": 0.2, "presence_penalty": 0.3, "penalty_window": -1, "max_tokens": 9,
               "stop": ["END"]}  # fmt: skip
    assert written.keys() == set(SamplingConfig.__struct_fields__)
    made = agent_kinds(config(sampling=written), lambda agent: KERNEL)["a"].make("a")
    assert made.setup.sampling == msgspec.convert(written, Sampling)  # type: ignore[attr-defined]


def test_tools_of_modules_and_classes_are_found() -> None:
    found = user_tools(msgspec.convert({"tools": {"modules": ["tests.sdk.test_agent"]}}, Config))
    assert [each.name for each in found] == ["exchange_rate"]
