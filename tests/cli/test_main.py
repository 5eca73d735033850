"""The command as a user calls it: exit codes, streams, and no traceback for a mistake."""

import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from aios_actors.cli import main
from aios_actors.config.schema import schema_text

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "aios_actors.cli"]

# Agents that need no model: what is tested here is the command.
AGENTS = """
import asyncio
from aios_actors import Agent


class Echo(Agent):
    "You repeat."

    async def run(self, task: str) -> str:
        if task == "fail":
            raise ValueError("no echo today")
        return task.upper()


class Patient(Agent):
    "You wait."

    async def run(self, task: str) -> str:
        await asyncio.Event().wait()
        return "never"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "cli_test_agents.py").write_text(AGENTS)
    path = tmp_path / "run.toml"
    path.write_text(
        '[node]\ndata = "DATA"\n[agents.echo]\nclass = "cli_test_agents:Echo"\n'
        '[[tasks]]\nagent = "echo"\ninput = "hello"\n'.replace("DATA", str(tmp_path / "data"))
    )
    return path


def call(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=cwd)


def test_json_is_all_there_is_on_standard_output(config: Path) -> None:
    done = call("run", config, "--json", "--set", "tasks[1]={ agent = 'echo', input = 'fail' }")
    assert done.returncode == 1, done.stderr
    results = {line["task"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert results["hello"]["answer"] == "HELLO"
    assert results["hello"]["error"] == ""
    assert results["fail"]["answer"] is None
    assert "no echo today" in results["fail"]["error"]


def test_plain_lines_when_there_is_no_terminal(config: Path) -> None:
    done = call("run", config)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "echo: hello\n    HELLO\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 task: 1 answered, 0 failed in ")


def test_mistakes_are_2_and_no_traceback(config: Path) -> None:
    done = call("run", config, "--set", "agents.echo.modell=x", "--set", "tasks[0].agent=ecko")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f'{config}: agents.echo.modell: unknown key; did you mean "model"?',
        f'{config}: tasks[0].agent: no agent named "ecko"; did you mean "echo"?',
        "2 mistakes",
    ]


def test_sigterm_drains(config: Path) -> None:
    config.write_text(config.read_text().replace(":Echo", ":Patient").replace("[node]", "[node]\ndrain_s = 0.05"))
    with subprocess.Popen(
        [*COMMAND, "run", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1 task started\n"
        assert process.stdout.readline().endswith("echo: works\n")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: running tasks have 0.05 s to end" in err
    assert "Traceback" not in err
    assert "1 task: 0 answered, 1 failed" in out


def test_a_second_signal_ends_at_once(config: Path) -> None:
    config.write_text(config.read_text().replace(":Echo", ":Patient").replace("[node]", "[node]\ndrain_s = 1000"))
    with subprocess.Popen(
        [*COMMAND, "run", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("SIGINT: running tasks have 1000 s")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT


def test_a_closed_pipe_is_quiet(config: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "run", config], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


def test_check_tells_what_is_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(config), "--set", "tasks[0].repeat=3"]) == 0
    assert capsys.readouterr().out == f"{config}: good: 1 agent on nano, 3 tasks\n"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.toml")))
def test_the_shipped_configs_are_good(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ROOT / "configs" / name)]) == 0


def test_nothing_to_do_is_a_mistake(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(config), "--set", "tasks=[]"]) == 2
    assert "tasks: there are none; add [[tasks]] with agent and input, or use --serve" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_made(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(config), "--data", f"{config}/below-a-file"]) == 2
    assert "node.data: the folder " in capsys.readouterr().err


def test_a_model_that_cannot_be_had_is_told_without_traceback(config: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(config.parent / "hub")}
    overrides = ["--set", "models.q={ hf = 'org/q', file = 'q.gguf' }", "--set", "agents.echo.model=q"]
    done = subprocess.run(
        [*COMMAND, "run", config, *overrides],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"{config}: model q: org/q: ")
    assert "Traceback" not in done.stderr


def test_schema_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"aios-actors {metadata.version('aios-actors')}\n"
