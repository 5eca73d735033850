"""`load_config`: each mistake a user can make, with its message; and what is filled in."""

from pathlib import Path

import pytest

from aios_actors.config import ConfigError, load_config
from aios_actors.config.structs import chosen_adapters
from aios_actors.models import resolve_adapters
from tests.config.project import Project
from tests.lora import write_adapter


def test_a_small_config_is_completed(project: Project) -> None:
    config = project.load(
        f'[agents.writer]\nclass = "{project.agent_class()}"\n[[tasks]]\nagent = "writer"\ninput = "hi"\n'
    )
    assert config.models["nano"].source == "embedded"
    assert [worker.model for worker in config.workers] == ["nano"]


def test_a_model_with_a_worker_gets_no_other(project: Project) -> None:
    project.gguf()
    config = project.load(
        '[models.m]\npath = "model.gguf"\n[[workers]]\nmodel = "m"\ncount = 2\n'
        f'[agents.a]\nclass = "{project.agent_class()}"\nmodel = "m"\n'
    )
    assert [(worker.model, worker.count) for worker in config.workers] == [("m", 2)]


def test_overrides_come_before_the_checks(project: Project) -> None:
    text = f'[agents.a]\nclass = "{project.agent_class()}"\nmodel = "wrong"\n'
    assert project.load(text, "agents.a.model=nano").agents["a"].model == "nano"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "x.toml")
    assert str(caught.value) == f"{tmp_path}/x.toml: there is no such file\n1 mistake"


def test_no_toml_tells_line_and_column(project: Project) -> None:
    with pytest.raises(ConfigError) as caught:
        project.load("[node]\ndata = = 3\n")
    assert str(caught.value) == f"{project.config}:2:8: is no TOML: Invalid value\n1 mistake"


def test_no_utf8(project: Project) -> None:
    project.config.write_bytes(b"x = '\xff'")
    with pytest.raises(ConfigError, match=r"is no UTF-8 text \(byte 5\); save it as UTF-8"):
        load_config(project.config)


def test_all_kinds_of_mistakes_come_together(project: Project) -> None:
    text = f"""
        [agents.writer]
        class = "{project.agent_class()}"
        model = "nan0"
        tools = ["calculater", "memory.*"]
        delegates = ["writr", "editor-*"]
        max_stepz = 3
        [models.m]
        path = "missing.gguf"
        [[workers]]
        model = "m"
        [groups.g]
        members = ["nobody"]
        grants = ["memory.search", "storage.*:writer", "memory.get:someone"]
        [[tasks]]
        agent = "writr"
        input = "hi"
    """
    assert project.mistakes(text) == [
        'agents.writer.max_stepz: unknown key; did you mean "max_steps"?',
        f"models.m.path: there is no file {project.config.parent}/missing.gguf",
        'agents.writer.model: no model named "nan0"; did you mean "nano"?',
        'agents.writer.tools[0]: no tool named "calculater"; did you mean "calculator"?',
        'agents.writer.delegates[0]: no agent named "writr"; did you mean "writer"?',
        'agents.writer.delegates[1]: no agent named "editor-*"; there is "writer"',
        'groups.g.members[0]: no agent named "nobody"; there is "writer"',
        'groups.g.grants[0]: "memory.search" is no grant; write "verb:owner", such as "memory.search:librarian"',
        'groups.g.grants[2]: no agent named "someone"; there is "writer"',
        'tasks[0].agent: no agent named "writr"; did you mean "writer"?',
    ]


def test_policies_that_do_not_exist_are_told_with_what_there_is(project: Project) -> None:
    own = project.module("own_policy", "class Lottery:\n    pass\n") + ":Lottery"
    text = f"""
        [scheduler]
        policy = "fare"
        policies = {{ nano = "{own}", qwen = "fifo" }}
    """
    assert project.mistakes(text) == [
        'scheduler.policies.qwen: no model named "qwen"; there is "nano"',
        'scheduler.policy: "fare" is not possible here; did you mean "fair"?; "module:Class" names your own',
        f'scheduler.policies.nano: "{own}" is no policy; make it a class that derives from Policy or Ranked of '
        "aios_actors.kernel.scheduler.policies",
    ]


def test_the_error_counts_its_lines(project: Project) -> None:
    with pytest.raises(ConfigError) as caught:
        project.load("[nod]\n[agnts]\n")
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        f'{project.config}: nod: unknown key; did you mean "node"?',
        f'{project.config}: agnts: unknown key; did you mean "agents"?',
    ]
    assert lines[2:] == ["2 mistakes"]


def test_delegates_may_name_instances(project: Project) -> None:
    text = f'[agents.a]\nclass = "{project.agent_class()}"\ncount = 2\ndelegates = ["a-2", "a-3"]\n'
    assert project.mistakes(text) == ['agents.a.delegates[1]: no agent named "a-3"; did you mean "a-2"?']


class TestClasses:
    def agent(self, project: Project, class_: str, more: str = "") -> list[str]:
        return project.mistakes(f'[agents.a]\nclass = "{class_}"\n{more}')

    def test_no_such_module(self, project: Project) -> None:
        (line,) = self.agent(project, "agnets_x.writer:Writer")
        assert line.startswith('agents.a.class: no module named "agnets_x" in ')
        assert str(project.config.parent) in line

    def test_no_such_module_in_a_package(self, project: Project) -> None:
        package = project.root / "agency"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "assistant.py").touch()
        (line,) = self.agent(project, "agency.assistent:Assistant")
        assert line.endswith('; did you mean "agency.assistant"?')

    def test_no_such_class(self, project: Project) -> None:
        spec = project.agent_class()
        module = spec.partition(":")[0]
        assert self.agent(project, f"{module}:Wrter") == [
            f'agents.a.class: module "{module}" has no class named "Wrter"; did you mean "Writer"?'
        ]

    def test_not_a_class_path(self, project: Project) -> None:
        assert self.agent(project, "agents.writer") == [
            'agents.a.class: "agents.writer" is no class; write "module:Class", '
            'for example "agents.assistant:Assistant"'
        ]

    def test_no_agent(self, project: Project) -> None:
        module = project.module("plain", "class Writer: ...\n")
        assert self.agent(project, f"{module}:Writer") == [
            f'agents.a.class: "{module}:Writer" is no agent; make it a class that derives from aios_actors.Agent'
        ]

    def test_a_module_that_raises_names_the_line(self, project: Project) -> None:
        module = project.module("broken", "x = 1\nraise ValueError('no luck')\n")
        assert self.agent(project, f"{module}:Writer") == [
            f'agents.a.class: importing "{module}" fails: {project.root}/{module}.py:2: ValueError: no luck'
        ]

    def test_a_module_with_a_syntax_error_names_the_line(self, project: Project) -> None:
        module = project.module("broken", "x = (\n")
        assert self.agent(project, f"{module}:Writer") == [
            f"agents.a.class: importing \"{module}\" fails: {project.root}/{module}.py:1: '(' was never closed"
        ]

    def test_a_module_that_misses_another(self, project: Project) -> None:
        module = project.module("broken", "import nowhere_to_be_found\n")
        (line,) = self.agent(project, f"{module}:Writer")
        assert line.endswith("py:1: ModuleNotFoundError: No module named 'nowhere_to_be_found'")

    def test_the_configs_folder_comes_first(self, project: Project) -> None:
        body = "from aios_actors import Agent\nclass Writer(Agent):\n    PLACE = '{}'\n"
        module = project.module("both", body.format("parent"))
        project.module("both", body.format("beside"), beside_config=True)
        project.load(f'[agents.a]\nclass = "{module}:Writer"\n')
        import importlib

        assert importlib.import_module(module).Writer.PLACE == "beside"

    def test_options_must_fit_the_constructor(self, project: Project) -> None:
        spec = project.agent_class(
            "    def __init__(self, style: str, tone: str = 'dry') -> None:\n        super().__init__()"
        )
        assert self.agent(project, spec, "options = { tne = 'wet' }") == [
            'agents.a.options.tne: Writer takes no such option; did you mean "tone"?',
            "agents.a.options.style: missing; Writer needs it",
        ]

    def test_a_tool_with_a_bad_signature(self, project: Project) -> None:
        spec = project.agent_class('    @tool\n    def rate(base):\n        """The rate."""')
        (line,) = self.agent(project, spec)
        assert "ToolDefinitionError" not in line
        assert line.startswith("agents.a.class: importing ")
        assert "tool 'rate'" in line and "base" in line

    def test_a_function_without_the_decorator(self, project: Project) -> None:
        spec = project.agent_class("    tools = [len]")
        (line,) = self.agent(project, spec)
        assert line.endswith("has <built-in function len> among its tools; put @tool above that function")


class TestToolModules:
    def test_their_tools_may_be_named(self, project: Project) -> None:
        module = project.module(
            "tools",
            'from aios_actors import tool\n@tool\ndef shout(text: str) -> str:\n    """Loud."""\n    return text\n',
        )
        text = f'[tools]\nmodules = ["{module}"]\n[agents.a]\nclass = "{project.agent_class()}"\ntools = ["shout"]\n'
        assert project.load(text).agents["a"].tools == ("shout",)

    def test_no_such_module(self, project: Project) -> None:
        (line,) = project.mistakes('[tools]\nmodules = ["nowhere_to_be_found"]\n')
        assert line.startswith('tools.modules[0]: no module named "nowhere_to_be_found" in ')

    def test_a_bad_signature(self, project: Project) -> None:
        module = project.module("tools", 'from aios_actors import tool\n@tool\ndef shout(text):\n    """Loud."""\n')
        (line,) = project.mistakes(f'[tools]\nmodules = ["{module}"]\n')
        assert line.startswith(f'tools.modules[0]: importing "{module}" fails: {project.root}/{module}.py:')
        assert "text" in line

    def test_no_tool_in_it(self, project: Project) -> None:
        module = project.module("tools", "x = 1\n")
        assert project.mistakes(f'[tools]\nmodules = ["{module}"]\n') == [
            f'tools.modules[0]: module "{module}" has no function with @tool'
        ]

    def test_limits_name_tools(self, project: Project) -> None:
        assert project.mistakes('[tools.limits."calculater"]\nparallel = 1\n') == [
            'tools.limits.calculater: no tool named "calculater"; did you mean "calculator"?'
        ]


class TestModels:
    def used(self, project: Project, model: str, more: str = "") -> list[str]:
        return project.mistakes(f"[models.m]\n{model}\n[[workers]]\nmodel = 'm'\n{more}")

    def test_no_source(self, project: Project) -> None:
        assert self.used(project, "") == [
            'models.m: has no GGUF; give it source = "embedded", path = "FILE.gguf", or hf = "org/repo" with file'
        ]

    def test_two_sources(self, project: Project) -> None:
        project.gguf()
        assert self.used(project, "path = 'model.gguf'\nsource = 'embedded'") == [
            "models.m.path: source and path exclude one another; keep one"
        ]

    def test_hub_without_file(self, project: Project) -> None:
        assert self.used(project, "hf = 'org/repo'") == [
            'models.m.file: missing; say which file of org/repo, for example file = "*Q4_K_M.gguf"'
        ]

    def test_secret_in_the_file(self, project: Project) -> None:
        assert self.used(project, "hf = 'org/repo'\nfile = 'x'\ntoken_env = 'hf_abcdef'") == [
            "models.m.token_env: holds a token; put that into an environment variable and its name here"
        ]

    def test_secret_not_set(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        text = "hf = 'org/repo'\nfile = 'x'\ntoken_env = 'MY_TOKEN'"
        monkeypatch.delenv("MY_TOKEN", raising=False)
        assert self.used(project, text) == ["models.m.token_env: the environment variable MY_TOKEN is not set"]
        monkeypatch.setenv("MY_TOKEN", "hf_abc")
        project.load(f"[models.m]\n{text}\n")

    def test_no_gguf(self, project: Project) -> None:
        (project.config.parent / "x.gguf").write_bytes(b"PK\x03\x04 a zip file")
        (line,) = self.used(project, "path = 'x.gguf'")
        assert line.startswith("models.m.path: ") and "GGUF" in line and "x.gguf" in line

    def test_a_folder(self, project: Project) -> None:
        assert self.used(project, "path = '.'") == [
            f"models.m.path: {project.config.parent} is a folder; name the .gguf file in it"
        ]

    def test_an_unused_model_is_not_looked_for(self, project: Project) -> None:
        project.load("[models.later]\npath = 'not-yet.gguf'\n")

    def test_unknown_model_of_a_worker(self, project: Project) -> None:
        assert project.mistakes("[[workers]]\nmodel = 'nanno'\n") == [
            'workers[0].model: no model named "nanno"; did you mean "nano"?'
        ]

    def test_context_beyond_memory(self, project: Project) -> None:
        project.gguf()
        (line,) = self.used(project, "path = 'model.gguf'\ncontext = 1_000_000_000_000")
        assert line.startswith("models.m.context: 1000000000000 tokens for each of 8 sequences need ")
        assert "use a context of at most " in line
        project.load(
            "[models.m]\npath = 'model.gguf'\ncontext = 1_000_000_000_000\n[[workers]]\nmodel = 'm'\ngpu_layers = -1\n"
        )


def test_a_table_for_nano_that_names_no_source_keeps_the_embedded_one(project: Project) -> None:
    text = f'[agents.writer]\nclass = "{project.agent_class()}"\n'
    loaded = project.load(text, "models.nano.context=1024")
    assert (loaded.models["nano"].source, loaded.models["nano"].context) == ("embedded", 1024)


class TestAdapters:
    """LoRA adapters: their files, and the names that agents use."""

    def mistakes(self, project: Project, adapter: str, file: str = "law.gguf") -> list[str]:
        return project.mistakes(
            f'[models.nano.adapters]\nlaw = "{file}"\n'
            f'[agents.writer]\nclass = "{project.agent_class()}"\nadapter = {adapter}\n'
        )

    def test_an_agent_names_one_or_several_with_scales(self, project: Project) -> None:
        law = write_adapter(project.config.parent / "law.gguf", 0, 2, 64)
        for adapter, chosen in (('"law"', {"law": 1.0}), ("{ law = 0.5 }", {"law": 0.5}), ('""', {})):
            text = f'[models.nano.adapters]\nlaw = "law.gguf"\n[agents.w]\nclass = "{project.agent_class()}"\n'
            loaded = project.load(f"{text}adapter = {adapter}\n")
            assert chosen_adapters(loaded.agents["w"]) == chosen
        assert resolve_adapters(loaded, project.config.parent) == {"nano": {"law": Path(law)}}

    def test_one_that_the_model_has_not(self, project: Project) -> None:
        write_adapter(project.config.parent / "law.gguf", 0, 2, 64)
        for adapter in ('"lwa"', "{ law = 1.0, lwa = 0.5 }"):
            assert self.mistakes(project, adapter) == [
                'agents.writer.adapter: model "nano" has no adapter named "lwa"; did you mean "law"?'
            ]

    def test_a_file_that_is_none(self, project: Project) -> None:
        (line,) = self.mistakes(project, '"law"')
        assert line.startswith("models.nano.adapters.law: there is no file ") and line.endswith("law.gguf")
        project.gguf()
        (line,) = self.mistakes(project, '"law"', "model.gguf")
        assert line.startswith("models.nano.adapters.law: ") and "is a model, not a LoRA adapter" in line


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("ubatch = 600", "ubatch: 600 is more than batch, which is 512; lower it or raise batch"),
        (
            'kv_type = "q8_0"\nflash_attention = "off"',
            'flash_attention: kv_type = "q8_0" needs it; use "on" or "auto", or kv_type = "f16"',
        ),
        (
            'gpu_layers = -1\nsplit = [1, 1]\nsplit_mode = "none"',
            'split: goes with split_mode "layer", "row" or "tensor"; "none" puts all on main_gpu',
        ),
        ("gpu_layers = -1\nsplit = [0, 0]", "split: gives no GPU a share; make one of the numbers greater than 0"),
        (
            "gpu_layers = -1\nmain_gpu = 1",
            'main_gpu: has no effect with split_mode = "layer"; set split_mode = "none" or "row"',
        ),
        (
            'device = "cuda:0"',
            "device: has no effect with gpu_layers = 0; set gpu_layers = -1 to put all layers on the GPU",
        ),
    ],
)  # fmt: skip
def test_device_settings_that_contradict_one_another(project: Project, settings: str, mistake: str) -> None:
    assert project.mistakes(f"[[workers]]\nmodel = 'nano'\n{settings}\n") == [f"workers[0].{mistake}"]


def test_device_settings_that_go_together(project: Project) -> None:
    for settings in (
        'gpu_layers = -1\nsplit_mode = "none"\nmain_gpu = 1\ndevice = "cuda:0,cuda:1"',
        'gpu_layers = 20\nsplit = [3, 1]\nsplit_mode = "tensor"\nkv_type = "q8_0"\nflash_attention = "on"',
        'device = "none"\nkv_unified = true\nkv_offload = false\nop_offload = false\nmmap = false\nmlock = true',
    ):
        project.load(f"[[workers]]\nmodel = 'nano'\n{settings}\n")
