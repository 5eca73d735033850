"""The lock files: they pin what pyproject.toml asks for, on every supported Python, and agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = PROJECT["dependencies"]
TESTS = PROJECT["optional-dependencies"]["test"]
PYTHONS = ("3.11", "3.12", "3.13")


def pins(name: str, python: str) -> dict[str, str]:
    """Version of each package that a lock file installs on Linux with this Python."""
    machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
               "platform_machine": "x86_64", "platform_python_implementation": "CPython"}  # fmt: skip
    found: dict[str, str] = {}
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith(("#", " ")):
            requirement = Requirement(line.removesuffix("\\").strip())
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            if requirement.marker is None or requirement.marker.evaluate(machine):
                package = canonicalize_name(requirement.name)
                assert package not in found, f"{package} is pinned twice for {python}"
                found[package] = specifier.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("name", "wanted"), [("requirements.lock", RUNTIME), ("requirements-test.lock", RUNTIME + TESTS)]
)
def test_every_requirement_is_pinned_within_its_range(name: str, wanted: list[str], python: str) -> None:
    pinned = pins(name, python)
    for each in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(each.name))
        assert version, f"{name} lacks {each.name}; run scripts/lock"
        assert each.specifier.contains(version), f"{name} has {each.name} {version}, and pyproject.toml wants {each}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_test_lock_holds_all_of_the_other(python: str) -> None:
    assert pins("requirements.lock", python).items() <= pins("requirements-test.lock", python).items()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_each_entry_has_hashes_and_no_place(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.findall(r"^\S.*==.*(?:\n[ \t]+.*)*", text, re.M)
    assert len(entries) > 10
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|file:|--index|--find-links|^/", text, re.M)
