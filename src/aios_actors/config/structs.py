"""The config file as msgspec Structs; the TOML is decoded straight into these.

Field docstrings are the user's reference: the JSON Schema for editors is made from them. Unknown keys are errors.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[int, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
PolicyName = Annotated[
    str,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"enum": ["fifo", "round_robin", "priority", "fair", "mlfq", "least_attained", "deadline"]},
                {"pattern": "^[^:]+:[^:]+$"},
            ]
        }
    ),
]
KvType = Literal["auto", "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


class ConfigStruct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all tables of the config."""


class NodeConfig(ConfigStruct, frozen=True):
    """`[node]`: the process that runs the agents.

    Attributes:
        data: folder of what outlives the node (memory, storage), relative to the working folder.
        log_level: least level of a log line.
        log_format: "auto" is readable lines in a terminal and JSON otherwise.
        drain_s: seconds that running tasks have to end in after SIGTERM.
        hang_s: seconds of silence after which a worker counts as hung and is started again; longer than its longest
            step.
    """

    data: str = ".aios"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    log_format: Literal["auto", "console", "json"] = "auto"
    drain_s: PositiveSeconds = 30.0
    hang_s: PositiveSeconds = 60.0


class ModelConfig(ConfigStruct, frozen=True):
    """`[models.NAME]`: where a GGUF comes from; exactly one of `source`, `path` and `hf`.

    Attributes:
        source: "embedded" is the small model that comes with the package.
        path: a GGUF file, relative to the config's folder.
        hf: a repository of the Hugging Face Hub, `org/name`.
        file: the file in that repository; may hold `*`, and must then fit one model.
        revision: branch, tag or commit of that repository.
        token_env: name of the environment variable with the Hub's token.
        context: tokens that one sequence may hold; 0 is what the model was trained with, at most 8192.
        pooling: how embeddings are made of its tokens' vectors; "auto" is what the model's metadata say, and a model
            that says nothing gives none.
        adapters: LoRA adapters of this model, by name: GGUF files, relative to the config's folder.
    """

    source: Literal["", "embedded"] = ""
    path: str = ""
    hf: str = ""
    file: str = ""
    revision: str = "main"
    token_env: str = ""
    context: NonNegative = 0
    pooling: Literal["auto", "none", "mean", "cls", "last"] = "auto"
    adapters: dict[str, str] = {}


class WorkerConfig(ConfigStruct, frozen=True):
    """`[[workers]]`: one process with one llama.cpp context.

    Attributes:
        model: a name of `[models]`.
        count: how many such processes.
        sequences: generations at the same time; 0 lets the engine choose (24 on a CPU, or 16 or 8 where their KV cache
            would take a quarter of the memory; 32 on a GPU).
        cells: tokens that all of them together may have in the KV cache; 0 is enough for each at full length. When all
            are taken, the generations that came last wait until there is room.
        batch: most tokens in one step.
        ubatch: most tokens that llama.cpp computes at once; 0 is `batch`.
        threads: CPU threads; 0 is one for each CPU that the process may use, and fewer while others use them.
        threads_batch: CPU threads for batches of many tokens; 0 is `threads`.
        gpu_layers: layers to put on the GPU; -1 is all of them.
        device: device name as llama.cpp lists them (`CUDA0`, or `cuda:0`), or several with commas; "" lets llama.cpp
            choose, "none" is the CPU.
        split_mode: how several GPUs share a model: by "layer", by "row" or "tensor" within each layer, or "none".
        split: shares of several GPUs, in llama.cpp's order; none given means by their free memory.
        main_gpu: the GPU that holds all with split_mode "none", and intermediate results with "row".
        kv_type: element type of the KV cache; "auto" is what is fastest without loss that matters.
        kv_unified: whether sequences share one pool of KV cells; none given means yes on a GPU, and on a CPU where our
            own attention kernel computes, which needs a C compiler.
        kv_offload: whether the KV cache lies on the GPU.
        op_offload: whether large operations on weights in main memory are done on the GPU.
        flash_attention: "off" on a CPU is llama.cpp's plain attention instead of our kernel; "auto" is that, too, where
            there is none.
        mmap: whether weights are mapped from the file, and so shared by workers, rather than read; none given means
            that on a CPU those are read, which computes faster, that take at most an eighth of the memory.
        mlock: whether weights are kept from being swapped out.
        device_sampling: whether the GPU chooses the tokens of greedy calls without constraint, penalties, bias and log
            probabilities. The output is the same; on an H100 it was no faster, and stops all for some 40 ms where calls
            of several kinds take turns.
        speculate: "auto" computes tokens that a text's own repetitions foretell while that pays, "on" always, "off"
            never; the output is the same.
        host_memory: bytes of main memory for the KV of conversations that have no place in the cache.
        disk_memory: bytes of disk, in the node's data folder, for the KV that finds no room there either; 0 uses none.
    """

    model: str
    count: Positive = 1
    sequences: NonNegative = 0
    cells: NonNegative = 0
    batch: Positive = 512
    ubatch: NonNegative = 0
    threads: NonNegative = 0
    threads_batch: NonNegative = 0
    gpu_layers: Annotated[int, Meta(ge=-1)] = 0
    device: str = ""
    split_mode: Literal["none", "layer", "row", "tensor"] = "layer"
    split: tuple[Annotated[float, Meta(ge=0)], ...] = ()
    main_gpu: NonNegative = 0
    kv_type: KvType = "auto"
    kv_unified: bool | None = None
    kv_offload: bool = True
    op_offload: bool = True
    flash_attention: Literal["auto", "on", "off"] = "auto"
    mmap: bool | None = None
    mlock: bool = False
    device_sampling: bool = False
    speculate: Literal["auto", "on", "off"] = "auto"
    host_memory: NonNegative = 2**30
    disk_memory: NonNegative = 4 * 2**30


class SchedulerConfig(ConfigStruct, frozen=True):
    """`[scheduler]`: who gets the LLM next.

    Attributes:
        policy: "fifo", "round_robin", "priority", "fair", "mlfq", "least_attained", "deadline", or a class of your own
            as "module:Class".
        policies: a policy for each model that is to have another one.
        slice: tokens of a generation's turn under round_robin and fair, and of its first one under mlfq and
            least_attained.
        queue: most LLM calls that may wait for a model; one more is refused.
        ageing_s: seconds of waiting that make up for one level of priority, or for one slice of service received.
        prompt_cost: what computing a token of a prompt counts, in generated tokens.
        cached_cost: what a token of a prompt counts whose KV is at hand.
    """

    policy: PolicyName = "fifo"
    policies: dict[str, PolicyName] = {}
    slice: Positive = 64
    queue: Positive = 20_000
    ageing_s: PositiveSeconds = 30.0
    prompt_cost: Annotated[float, Meta(ge=0)] = 0.5
    cached_cost: Annotated[float, Meta(ge=0)] = 0.02


class ContextConfig(ConfigStruct, frozen=True):
    """`[context]`: the agents' conversations as tokens.

    Attributes:
        memory: bytes of tokens kept in RAM; the rest is on disk and read back when it is used.
        eviction: who leaves RAM first: "k-lru" (by LRU-K), or "cost" (by uses and cost of reading back for each byte).
    """

    memory: Positive = 256 * 2**20
    eviction: Literal["k-lru", "cost"] = "k-lru"


class MemoryConfig(ConfigStruct, frozen=True):
    """`[memory]`: notes of the agents.

    Attributes:
        cache: notes kept in RAM, those used least (by LRU-K) leaving first.
        notes: most notes of one agent.
    """

    cache: Positive = 1024
    notes: Positive = 100_000


class StorageConfig(ConfigStruct, frozen=True):
    """`[storage]`: files of the agents.

    Attributes:
        bytes: most bytes of one agent's files, their history included; the oldest versions leave first.
    """

    bytes: Positive = 64 * 2**20


class ToolLimits(ConfigStruct, frozen=True):
    """`[tools.limits.NAME]`: limits of one tool; NAME may hold `*`.

    Attributes:
        timeout_s: seconds after which a call fails; none given means what the tool says, 30 if it says nothing.
        parallel: calls at the same time, while more wait; none given means what the tool says, 16 if it says nothing.
    """

    timeout_s: PositiveSeconds | None = None
    parallel: Positive | None = None


class ToolsConfig(ConfigStruct, frozen=True):
    """`[tools]`: tools beside the built-in ones.

    Attributes:
        modules: Python modules whose `@tool` functions every agent may be given.
        limits: limits for each tool name.
    """

    modules: tuple[str, ...] = ()
    limits: dict[str, ToolLimits] = {}


class SamplingConfig(ConfigStruct, frozen=True):
    """`[agents.NAME.sampling]`: how an agent's tokens are chosen.

    Attributes:
        temperature: 0 is greedy.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the likeliest tokens that make up this probability.
        min_p: keep tokens with at least this share of the likeliest one's probability.
        repeat_penalty: divides the logit of tokens that occurred; 1 is off.
        frequency_penalty: taken off a token's logit for each time that it occurred.
        presence_penalty: taken off a token's logit if it occurred.
        penalty_window: how many of the last tokens the penalties look at; -1 is all.
        seed: same seed, same tokens.
        max_tokens: most tokens of one reply.
        stop: texts before which a reply ends.
    """

    temperature: Annotated[float, Meta(ge=0)] = 0.0
    top_k: NonNegative = 0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    repeat_penalty: Annotated[float, Meta(gt=0)] = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_window: Annotated[int, Meta(ge=-1)] = 64
    seed: NonNegative = 0
    max_tokens: Positive = 512
    stop: tuple[str, ...] = ()


class Budget(ConfigStruct, frozen=True):
    """`[agents.NAME.budget]`, `[run.budget]`: limits of a task, or of a run; none given means no limit.

    What agents do that the task's agent asks or makes counts as well.

    Attributes:
        tokens: tokens of prompts and answers.
        seconds: from the beginning to the end; what still runs then is ended.
        tool_calls: calls of tools.
        agents: agents made.
        depth: how far it may hand work on: 1 is to agents that do not hand it on themselves, 0 to none.
    """

    tokens: Positive | None = None
    seconds: PositiveSeconds | None = None
    tool_calls: NonNegative | None = None
    agents: NonNegative | None = None
    depth: NonNegative | None = None


class AgentConfig(ConfigStruct, frozen=True):
    """`[agents.NAME]`: a kind of agent.

    Attributes:
        class_: `module:Class`; the module is looked up beside the config, in its parent folder and the working folder.
        model: a name of `[models]`.
        adapter: a LoRA adapter of that model, or several with their scales: { law = 1.0, style = 0.5 }.
        system: system prompt; "" is the class's own.
        tools: names or patterns of the tools that it may call; none given means those that the class names.
        delegates: names or patterns of the agents that it may hand tasks to.
        count: how many instances; tasks go to the one with the fewest waiting.
        max_steps: most LLM calls for one task in the ready-made loops.
        budget: what one task may use.
        priority: higher is more urgent, under the policy "priority".
        weight: its share of the model relative to others', under the policy "fair".
        group: agents of one group share one weight; "" is a group of its own.
        deadline_s: seconds in which each LLM call should be answered, under the policy "deadline"; none given means
            that there is no hurry.
        overflow: for a conversation that outgrows the window; "slide" and "summarise" drop the oldest turns.
        sampling: how its tokens are chosen.
        options: passed to the class's constructor by name.
    """

    class_: str = msgspec.field(name="class")
    model: str = "nano"
    adapter: str | dict[str, float] = ""
    system: str = ""
    tools: tuple[str, ...] | None = None
    delegates: tuple[str, ...] = ()
    count: Positive = 1
    max_steps: Positive = 12
    budget: Budget = Budget()
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    weight: Annotated[float, Meta(gt=0)] = 1.0
    group: str = ""
    deadline_s: PositiveSeconds | None = None
    overflow: Literal["error", "slide", "summarise"] = "error"
    sampling: SamplingConfig = SamplingConfig()
    options: dict[str, Any] = {}


class TaskConfig(ConfigStruct, frozen=True):
    """`[[tasks]]`: what to do in a run. All tasks start at the same time.

    Attributes:
        agent: a name of `[agents]`.
        input: the task.
        repeat: how often.
    """

    agent: str
    input: str
    repeat: Positive = 1


class RunConfig(ConfigStruct, frozen=True):
    """`[run]`: the tasks of the config, all together.

    Attributes:
        budget: what they may use.
    """

    budget: Budget = Budget()


class GroupConfig(ConfigStruct, frozen=True):
    """`[groups.NAME]`: grants across agents; without one, an agent reaches its own memory and files only.

    Attributes:
        members: names of agents.
        grants: `verb:owner` patterns, such as "memory.search:librarian" or "storage.*:clerk".
    """

    members: tuple[str, ...]
    grants: tuple[str, ...]


class Config(ConfigStruct, frozen=True):
    """A whole config file.

    Attributes:
        node: the process that runs the agents.
        models: where GGUFs come from, by name; "nano", the embedded one, is always there.
        workers: processes that run models; a model that an agent uses and that has none gets one with defaults.
        scheduler: who gets the LLM next.
        context: limits of the agents' conversations.
        memory: limits of the agents' notes.
        storage: limits of the agents' files.
        tools: tools beside the built-in ones.
        agents: kinds of agents, by name.
        groups: grants across agents, by name.
        run: limits of all tasks together.
        tasks: what to do in a run.
    """

    node: NodeConfig = NodeConfig()
    models: dict[str, ModelConfig] = {}
    workers: tuple[WorkerConfig, ...] = ()
    scheduler: SchedulerConfig = SchedulerConfig()
    context: ContextConfig = ContextConfig()
    memory: MemoryConfig = MemoryConfig()
    storage: StorageConfig = StorageConfig()
    tools: ToolsConfig = ToolsConfig()
    agents: dict[str, AgentConfig] = {}
    groups: dict[str, GroupConfig] = {}
    run: RunConfig = RunConfig()
    tasks: tuple[TaskConfig, ...] = ()


def chosen_adapters(agent: AgentConfig) -> dict[str, float]:
    """The adapters of an agent with their scales; one that is only named has scale 1."""
    if isinstance(agent.adapter, str):
        return {agent.adapter: 1.0} if agent.adapter else {}
    return agent.adapter
