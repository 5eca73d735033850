"""The launch script as a user calls it, on a small project of the same form and an index on loopback.

The project's package prints its arguments, and the index has a tiny wheel named llama-cpp-python, so that all of the
set-up is real but for the build of llama.cpp.
"""

import functools
import hashlib
import io
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A build backend in the project itself, so that pip needs no network to install it.
BACKEND = """
import zipfile
INFO = "aios_actors-0.1.0.dist-info"
FILES = {
    "fake_aios.py": "import sys\\ndef main():\\n    print('ran', sys.argv[1:])\\n    return 7\\n",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: aios-actors\\nVersion: 0.1.0\\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    f"{INFO}/entry_points.txt": "[console_scripts]\\naios-actors = fake_aios:main\\n",
    f"{INFO}/RECORD": "",
}
def _wheel(folder):
    name = "aios_actors-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(path, text)
    return name
def build_editable(folder, config_settings=None, metadata_directory=None):
    return _wheel(folder)
"""


def wheel(version: str) -> bytes:
    """A wheel of llama-cpp-python with one line in it."""
    content = io.BytesIO()
    info = f"llama_cpp_python-{version}.dist-info"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("llama_cpp.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


class Index(ThreadingHTTPServer):
    """A simple index of one folder; while `hold` is set, requests wait and `asked` tells that one came."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Quiet(SimpleHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.gate.wait()
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output clean."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    for name, version in (("good", "0.3.36"), ("old", "0.2.0")):
        folder = tmp_path / "index" / name / "llama-cpp-python"
        folder.mkdir(parents=True)
        file = f"llama_cpp_python-{version}-py3-none-any.whl"
        content = wheel(version)
        (folder / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (folder / "index.html").write_text(f'<a href="{file}#sha256={digest}">{file}</a>')
    with Index(tmp_path / "index") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    for name in ("launch_node.py", "bootstrap.py", "ready_wheels.py", "setup_progress.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "aios-actors"\nversion = "0.1.0"\n'
    )
    (root / "requirements.lock").write_text("llama-cpp-python==0.3.36 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    return root


def command(project: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(project / "scripts" / "launch_node.py"), *arguments]


def environment(**more: str) -> dict[str, str]:
    """Without anything that would lead pip elsewhere."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "CMAKE_", "CXX"))}
    return {**inherited, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1", **more}


def launch(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, *arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**more),
        cwd=project.parent,
    )


def test_the_whole_way(project: Path, index: Index) -> None:
    """One test, because making an environment takes seconds: each step finds what the ones before it left."""
    stamp = project / ".venv" / "setup-run.json"

    compilerless = launch(project, "x.toml", CXX="no-such-compiler")
    assert compilerless.returncode == 1
    assert "CXX=no-such-compiler is not there" in compilerless.stderr and "--wheels cpu" in compilerless.stderr
    assert not stamp.exists()

    failed = launch(project, "x.toml", "--wheels", index.url("old"))
    assert failed.returncode == 1
    assert "installing llama.cpp wheel failed" in failed.stderr
    assert "The whole log is " in failed.stderr and "Traceback" not in failed.stderr
    assert not stamp.exists()

    direct = f"{index.url('old')}/llama-cpp-python/llama_cpp_python-0.2.0-py3-none-any.whl"
    another = launch(project, "x.toml", "--wheels", direct)
    assert another.returncode == 1
    assert f"{direct} holds llama-cpp-python 0.2.0, and 0.3.36 is needed" in another.stderr
    assert not stamp.exists()

    interrupt_while_it_installs(project, index)
    assert not stamp.exists()

    first = launch(project, "x.toml", "--wheels", index.url("good"), "--json", "--set", "a.b=c")
    assert first.returncode == 7, first.stderr
    assert first.stdout == "ran ['run', 'x.toml', '--json', '--set', 'a.b=c']\n"
    assert "llama.cpp wheel: done" in first.stderr
    assert stamp.exists()

    second = launch(project, "y.toml")
    assert (second.returncode, second.stdout, second.stderr) == (7, "ran ['run', 'y.toml']\n", "")

    (project / "requirements.lock").open("a").write("# changed\n")
    changed = launch(project, "y.toml")
    assert changed.returncode == 7
    assert "set-up done in" in changed.stderr and "llama.cpp" not in changed.stderr


def interrupt_while_it_installs(project: Path, index: Index) -> None:
    """Sends Ctrl-C's signal at a moment when pip certainly waits for the index."""
    index.asked.clear()
    index.gate.clear()
    with subprocess.Popen(
        command(project, "x.toml", "--wheels", index.url("good")), env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert index.asked.wait(60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    index.gate.set()
    assert process.returncode == 130
    assert "interrupted; the next start goes on with the set-up" in told


def test_an_old_python_gets_a_clear_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "scripts" / "launch_node.py"))["main"]
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    assert main() == 1
    assert capsys.readouterr().err.startswith("aios_actors needs Python 3.11 or newer, and this is 3.9. Install")


def test_without_a_config_it_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(command(ROOT), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "which config? try configs/quickstart.toml" in done.stderr
