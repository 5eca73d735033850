"""Where models come from: the package, a path, and the Hub, which here is a small one on loopback.

Downloads run in a process of their own: huggingface_hub reads HF_ENDPOINT and HF_HOME when it is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aios_actors.config.structs import Config, ModelConfig, WorkerConfig
from aios_actors.models import ModelError, choose, resolve, resolve_models
from tests import hub
from tests.config.project import gguf_bytes

GGUF = gguf_bytes(context=512, layers=2) + bytes(200_000)
PARTS = {f"big-Q8_0-{part:05}-of-00003.gguf": GGUF for part in (1, 2, 3)}
FILES = {"README.md": b"# hi", "small-Q4_K_M.gguf": GGUF, "small-Q8_0.gguf": GGUF, **PARTS}
REPOSITORIES = {"org/models": FILES, hub.PRIVATE: {"secret.gguf": GGUF}, "org/broken": {"page.gguf": b"<html>"}}

CHILD = """
import sys, msgspec
from pathlib import Path
from aios_actors.config.structs import ModelConfig
from aios_actors.models import ModelError, resolve
try:
    model = msgspec.json.decode(sys.argv[1], type=ModelConfig)
    print(resolve("m", model, Path(), lambda line: print(line, file=sys.stderr)))
except ModelError as error:
    print(error)
    sys.exit(2)
"""


def ignore(line: str) -> None:
    """Takes a report that a test has no interest in."""


def fetch(home: Path, endpoint: str, model: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Resolves a model, given as JSON, in a child process."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    variables = {**inherited, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **environment}
    return subprocess.run(
        [sys.executable, "-c", CHILD, model], capture_output=True, text=True, timeout=60, env=variables
    )


def test_the_embedded_model_comes_with_the_package() -> None:
    path = resolve("nano", ModelConfig(source="embedded"), Path("unused"), ignore)
    assert path.name == "nano.gguf"
    assert path.stat().st_size < 10_000_000


def test_a_path_is_relative_to_the_configs_folder(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(GGUF)
    assert resolve("m", ModelConfig(path="x.gguf"), tmp_path, ignore) == tmp_path / "x.gguf"


def test_a_file_that_has_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model m: there is no file .*x\.gguf"):
        resolve("m", ModelConfig(path="x.gguf"), tmp_path, ignore)


def test_only_models_with_a_worker_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(GGUF)
    models = {"m": ModelConfig(path="x.gguf"), "unused": ModelConfig(path="y.gguf")}
    config = Config(models=models, workers=(WorkerConfig(model="m"), WorkerConfig(model="m")))
    assert resolve_models(config, tmp_path, ignore) == {"m": tmp_path / "x.gguf"}


class TestChoose:
    def test_one_file(self) -> None:
        assert choose([*FILES], "*Q4_K_M.gguf") == ["small-Q4_K_M.gguf"]

    def test_a_file_in_a_folder_by_its_name_alone(self) -> None:
        assert choose(["q4/a.gguf", "q8/b.gguf"], "a.gguf") == ["q4/a.gguf"]

    @pytest.mark.parametrize("pattern", ["big-*", "*-00001-of-00003.gguf"])
    def test_the_parts_of_a_split_model_are_one_model(self, pattern: str) -> None:
        assert choose([*FILES], pattern) == sorted(PARTS)

    def test_a_part_that_is_missing(self) -> None:
        with pytest.raises(ModelError, match=r"big-Q8_0-00002-of-00003\.gguf is missing in the repository"):
            choose([name for name in PARTS if "00002" not in name], "big*")

    def test_none_fits(self) -> None:
        with pytest.raises(ModelError, match=r'no file fits "small-Q4_K_S\.gguf"; did you mean "small-Q4_K_M\.gguf"\?'):
            choose([*FILES], "small-Q4_K_S.gguf")

    def test_several_fit(self) -> None:
        with pytest.raises(
            ModelError, match=r'"small\*" fits 2 models: small-Q4_K_M\.gguf, small-Q8_0\.gguf; make `file` fit one'
        ):
            choose([*FILES], "small*")


class TestHub:
    def test_download_then_cache_then_offline(self, tmp_path: Path) -> None:
        model = '{"hf": "org/models", "file": "*Q4_K_M.gguf"}'
        with hub.serve(REPOSITORIES) as server:
            first = fetch(tmp_path, server.endpoint, model)
            assert first.returncode == 0, first.stdout + first.stderr
            assert Path(first.stdout.strip()).read_bytes() == GGUF
            assert "model m: org/models: downloading small-Q4_K_M.gguf" in first.stderr
            downloads = [each for each in server.requests if each.startswith("GET /org")]
            assert downloads and all(each.endswith("small-Q4_K_M.gguf") for each in downloads)
            server.requests.clear()
            second = fetch(tmp_path, server.endpoint, model)
            assert second.stdout == first.stdout
            assert second.stderr == ""
            assert not [each for each in server.requests if each.startswith("GET /org")]
            endpoint = server.endpoint
        offline = fetch(tmp_path, endpoint, model)
        assert offline.stdout == first.stdout, offline.stdout + offline.stderr
        assert "using the cached small-Q4_K_M.gguf" in offline.stderr

    def test_all_parts_of_a_split_model(self, tmp_path: Path) -> None:
        with hub.serve(REPOSITORIES) as server:
            done = fetch(tmp_path, server.endpoint, '{"hf": "org/models", "file": "big*"}')
        first = Path(done.stdout.strip())
        assert first.name == "big-Q8_0-00001-of-00003.gguf"
        assert sorted(path.name for path in first.parent.iterdir()) == sorted(PARTS)

    def test_the_token_comes_from_the_named_variable_only(self, tmp_path: Path) -> None:
        with hub.serve(REPOSITORIES) as server:
            model = f'{{"hf": "{hub.PRIVATE}", "file": "*", "token_env": "MY_TOKEN"}}'
            good = fetch(tmp_path, server.endpoint, model, MY_TOKEN=hub.TOKEN)
            assert Path(good.stdout.strip()).read_bytes() == GGUF, good.stdout + good.stderr
            bare = f'{{"hf": "{hub.PRIVATE}", "file": "*"}}'
            refused = fetch(tmp_path / "other", server.endpoint, bare, HF_TOKEN=hub.TOKEN)
        assert refused.returncode == 2
        assert "no such repository" in refused.stdout and "a private one needs token_env" in refused.stdout

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ('{"hf": "org/nothing", "file": "*"}', "model m: org/nothing: no such repository at http://127.0.0.1:"),
            (
                '{"hf": "org/models", "file": "*", "revision": "v9"}',
                "model m: org/models at v9: the repository has no such revision",
            ),
            (
                '{"hf": "org/models", "file": "*Q2*"}',
                'model m: org/models: no file fits "*Q2*"; there is "big-Q8_0-00001-of-00003.gguf"',
            ),
            ('{"hf": "org/broken", "file": "*"}', "model m: "),
        ],
    )
    def test_what_goes_wrong_is_told(self, tmp_path: Path, model: str, message: str) -> None:
        with hub.serve(REPOSITORIES) as server:
            done = fetch(tmp_path, server.endpoint, model)
        assert done.returncode == 2, done.stderr
        assert done.stdout.startswith(message)
        assert "Traceback" not in done.stderr

    def test_no_network_and_nothing_cached(self, tmp_path: Path) -> None:
        with hub.serve({}) as server:
            endpoint = server.endpoint
        done = fetch(tmp_path, endpoint, '{"hf": "org/models", "file": "*"}')
        assert done.returncode == 2
        assert "cannot be reached" in done.stdout
        assert "not in the cache; connect, or use path = ..." in done.stdout
