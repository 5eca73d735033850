"""Checks a decoded config against itself and the world: names, classes, tools, models, memory.

Contract: every function notes all mistakes that it finds and none of them raises; nothing is downloaded. Importing the
user's modules runs their code, as a run would.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios_actors.config.classes import ImportProblem, load_class, load_module, load_policy, option_problems, tools_of
from aios_actors.config.mistakes import Mistakes, join, suggest
from aios_actors.config.model_files import adapter_problem, file_problem, local_path, memory_problems
from aios_actors.config.structs import AgentConfig, Config, ModelConfig, WorkerConfig, chosen_adapters

if TYPE_CHECKING:
    from aios_actors.kernel.tool import ToolRegistry
    from aios_actors.sdk import Tool

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check(config: Config, folder: Path, mistakes: Mistakes) -> None:
    """Notes what is wrong with a config whose values have the right types.

    Args:
        config: with `nano` and all workers filled in.
        folder: the config's folder.
        mistakes: collects what is found.
    """
    # Imported here: the kernel imports this package for its Structs.
    from aios_actors.kernel.tool import ToolRegistry

    check_models(config, folder, mistakes)
    check_policies(config, mistakes)
    registry = ToolRegistry()
    for index, module in enumerate(config.tools.modules):
        check_tool_module(module, join(join("tools", "modules"), index), registry, mistakes)
    for name, agent in config.agents.items():
        check_class(agent, join("agents", name), registry, mistakes)
    tools = {each.name for each in registry}
    for name, agent in config.agents.items():
        check_names(name, agent, config, tools, mistakes)
    for name in config.tools.limits:
        if not _fits(name, tools):
            mistakes.add(join(join("tools", "limits"), name), f'no tool named "{name}"{suggest(name, tools)}')
    check_groups(config, mistakes)
    for index, task in enumerate(config.tasks):
        if task.agent not in config.agents:
            path = join(join("tasks", index), "agent")
            mistakes.add(path, f'no agent named "{task.agent}"{suggest(task.agent, config.agents)}')


def instances(agents: Mapping[str, AgentConfig]) -> set[str]:
    """Names that agents go by: those of `[agents]`, and `name-1` and so on where there are several."""
    several = {f"{name}-{n}" for name, agent in agents.items() if agent.count > 1 for n in range(1, agent.count + 1)}
    return several | agents.keys()


def check_models(config: Config, folder: Path, mistakes: Mistakes) -> None:
    """Where models come from; the files and memory of those that are used."""
    for index, worker in enumerate(config.workers):
        if worker.model not in config.models:
            path = join(join("workers", index), "model")
            mistakes.add(path, f'no model named "{worker.model}"{suggest(worker.model, config.models)}')
        for key, message in _worker_problems(worker):
            mistakes.add(join(join("workers", index), key), message)
    used = {worker.model for worker in config.workers}
    paths = {}
    for name, model in config.models.items():
        path = join("models", name)
        known = len(mistakes)
        for key, message in _source_problems(model, needed=name in used):
            mistakes.add(join(path, key) if key else path, message)
        for adapter, file in model.adapters.items() if name in used else ():
            if problem := adapter_problem(folder / Path(file).expanduser()):
                mistakes.add(join(join(path, "adapters"), adapter), problem)
        local = local_path(model, folder)
        if name not in used or len(mistakes) > known or local is None:
            continue
        if problem := file_problem(local):
            mistakes.add(join(path, "path" if model.path else "source"), problem)
        else:
            paths[name] = local
    for name, message in memory_problems(config.models, config.workers, paths):
        mistakes.add(join(join("models", name), "context"), message)


def _worker_problems(worker: WorkerConfig) -> Iterator[tuple[str, str]]:
    """Device settings that contradict one another, or that would have no effect."""
    if worker.ubatch > worker.batch:
        yield "ubatch", f"{worker.ubatch} is more than batch, which is {worker.batch}; lower it or raise batch"
    if worker.kv_type not in ("auto", "f32", "f16", "bf16") and worker.flash_attention == "off":
        yield "flash_attention", f'kv_type = "{worker.kv_type}" needs it; use "on" or "auto", or kv_type = "f16"'
    if worker.split and worker.split_mode == "none":
        yield "split", 'goes with split_mode "layer", "row" or "tensor"; "none" puts all on main_gpu'
    if worker.split and not any(worker.split):
        yield "split", "gives no GPU a share; make one of the numbers greater than 0"
    if worker.main_gpu and worker.split_mode not in ("none", "row"):
        yield "main_gpu", f'has no effect with split_mode = "{worker.split_mode}"; set split_mode = "none" or "row"'
    gpu = [key for key in ("split", "main_gpu") if getattr(worker, key)]
    gpu += ["device"] if worker.device.lower() not in ("", "none", "cpu") else []
    if worker.gpu_layers == 0:
        for key in gpu:
            yield key, "has no effect with gpu_layers = 0; set gpu_layers = -1 to put all layers on the GPU"


def _source_problems(model: ModelConfig, *, needed: bool) -> Iterator[tuple[str, str]]:
    given = [key for key in ("source", "path", "hf") if getattr(model, key)]
    if not given:
        yield "", 'has no GGUF; give it source = "embedded", path = "FILE.gguf", or hf = "org/repo" with file'
    if len(given) > 1:
        yield given[1], f"{' and '.join(given)} exclude one another; keep one"
    if model.hf and not model.file:
        yield "file", f'missing; say which file of {model.hf}, for example file = "*Q4_K_M.gguf"'
    if model.hf and model.hf.count("/") != 1:
        yield "hf", f'"{model.hf}" is no repository; write "org/repo"'
    if model.file and not model.hf:
        yield "file", "goes with hf; use path for a file on this machine"
    if model.token_env.startswith("hf_"):
        yield "token_env", "holds a token; put that into an environment variable and its name here"
    elif needed and model.token_env and not os.environ.get(model.token_env):
        yield "token_env", f"the environment variable {model.token_env} is not set"


def check_policies(config: Config, mistakes: Mistakes) -> None:
    """The scheduling policies, and the models that they are for."""
    path = join("scheduler", "policies")
    for model in config.scheduler.policies:
        if model not in config.models:
            mistakes.add(join(path, model), f'no model named "{model}"{suggest(model, config.models)}')
    named = {join(path, model): policy for model, policy in config.scheduler.policies.items()}
    for where, policy in {join("scheduler", "policy"): config.scheduler.policy, **named}.items():
        try:
            load_policy(policy)
        except ImportProblem as problem:
            mistakes.add(where, str(problem))


def check_tool_module(name: str, path: str, registry: "ToolRegistry", mistakes: Mistakes) -> None:
    """Imports a module of `[tools] modules` and registers its tools."""
    try:
        found = tools_of(load_module(name))
    except ImportProblem as problem:
        mistakes.add(path, str(problem))
        return
    if not found:
        mistakes.add(path, f'module "{name}" has no function with @tool')
    _register(found, path, registry, mistakes)


def check_class(agent: AgentConfig, path: str, registry: "ToolRegistry", mistakes: Mistakes) -> None:
    """An agent's class, the options for its constructor, and the tools that it brings."""
    from aios_actors.sdk import Tool

    try:
        class_ = load_class(agent.class_)
    except ImportProblem as problem:
        mistakes.add(join(path, "class"), str(problem))
        return
    for option, message in option_problems(class_, agent.options):
        mistakes.add(join(join(path, "options"), option), message)
    own = [each for each in class_.tools if isinstance(each, Tool)]
    for each in class_.tools:
        if not isinstance(each, Tool | str):
            mistakes.add(
                join(path, "class"), f"{agent.class_} has {each!r} among its tools; put @tool above that function"
            )
    _register(own, join(path, "class"), registry, mistakes)


def check_names(name: str, agent: AgentConfig, config: Config, tools: set[str], mistakes: Mistakes) -> None:
    """An agent's name, and the names that it refers to."""
    path = join("agents", name)
    if not _NAME.fullmatch(name):
        mistakes.add(path, "is no name for an agent; use letters, digits, - and _")
    if agent.model not in config.models:
        mistakes.add(join(path, "model"), f'no model named "{agent.model}"{suggest(agent.model, config.models)}')
    else:
        check_adapters(agent, config.models[agent.model], join(path, "adapter"), mistakes)
    _fit_all(agent.tools or (), tools, join(path, "tools"), "tool", mistakes)
    _fit_all(agent.delegates, instances(config.agents), join(path, "delegates"), "agent", mistakes)


def check_adapters(agent: AgentConfig, model: ModelConfig, path: str, mistakes: Mistakes) -> None:
    """The adapters that an agent chooses among those of its model."""
    for name in chosen_adapters(agent):
        if name not in model.adapters:
            mistakes.add(path, f'model "{agent.model}" has no adapter named "{name}"{suggest(name, model.adapters)}')


def check_groups(config: Config, mistakes: Mistakes) -> None:
    """Members and grants of the groups."""
    known = instances(config.agents)
    for name, group in config.groups.items():
        path = join("groups", name)
        _fit_all(group.members, known, join(path, "members"), "agent", mistakes)
        for index, grant in enumerate(group.grants):
            verb, colon, owner = grant.partition(":")
            where = join(join(path, "grants"), index)
            if not (verb and colon and owner):
                mistakes.add(where, f'"{grant}" is no grant; write "verb:owner", such as "memory.search:librarian"')
            elif not _fits(owner, known):
                mistakes.add(where, f'no agent named "{owner}"{suggest(owner, config.agents)}')


def _register(tools: Iterable["Tool[..., Any]"], path: str, registry: "ToolRegistry", mistakes: Mistakes) -> None:
    from aios_actors.sdk.tool import ToolDefinitionError

    for each in tools:
        try:
            registry.add(each)
        except ToolDefinitionError as problem:
            mistakes.add(path, str(problem))


def _fits(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _fit_all(patterns: Iterable[str], known: set[str], path: str, what: str, mistakes: Mistakes) -> None:
    for index, pattern in enumerate(patterns):
        if not _fits(pattern, known):
            mistakes.add(join(path, index), f'no {what} named "{pattern}"{suggest(pattern, known)}')
