"""Unpacking llama.cpp from llama-cpp-python's source archive."""

import io
import tarfile
from pathlib import Path

import pytest

from scripts.bench.llama_tools import BuildFailed, binary, python_server, unpack


def archive(folder: Path, *names: str) -> Path:
    path = folder / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"llama_cpp_python-1/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    return path


def test_only_llama_cpp_and_the_server_example_are_unpacked(tmp_path: Path) -> None:
    names = ("vendor/llama.cpp/CMakeLists.txt", "examples/server/server.py", "README.md", "vendor/other/file")
    unpack(archive(tmp_path, *names), tmp_path / "source")
    files = {str(path.relative_to(tmp_path / "source")) for path in tmp_path.glob("source/**/*") if path.is_file()}
    assert files == set(names[:2])
    assert python_server(tmp_path) == tmp_path / "source" / "examples" / "server" / "server.py"


def test_another_archive_is_refused_and_leaves_no_source(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no source archive of llama-cpp-python"):
        unpack(archive(tmp_path, "README.md"), tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_what_was_not_built_is_not_there(tmp_path: Path) -> None:
    assert binary("llama-server", tmp_path) is None
    assert python_server(tmp_path) is None
