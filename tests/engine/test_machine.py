"""A container's limits bound what a process takes for its CPUs and its memory."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from aios_actors.engine.machine import available_memory, memory_bytes, usable_cpus

MIB = 1 << 20


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(folder: Path, cgroup: str, files: Mapping[str, str] = {}) -> Path:
    """A root whose control groups hold these files."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        file = folder / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_without_control_groups_all_is_usable(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == 8
    assert memory_bytes(tmp_path) == available_memory(tmp_path) == memory_bytes()


@pytest.mark.parametrize(
    ("quota", "cpus"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("", 8)]
)
def test_a_quota_of_cpu_time_bounds_the_cpus(tmp_path: Path, quota: str, cpus: int) -> None:
    root = machine(tmp_path, "0::/\n", {"cpu.max": quota})
    assert usable_cpus(root) == cpus


def test_the_quotas_of_the_groups_above_count_too(tmp_path: Path) -> None:
    files = {"a.slice/b/cpu.max": "max 100000", "a.slice/cpu.max": "300000 100000", "c/cpu.max": "100000 100000"}
    assert usable_cpus(machine(tmp_path, "0::/a.slice/b\n", files)) == 3


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("400000", 4)])
def test_version_1_has_quotas_in_other_files(tmp_path: Path, quota: str, cpus: int) -> None:
    # In a container the group's path is that of the host, and what is mounted is the container's own group.
    files = {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": "100000"}
    assert usable_cpus(machine(tmp_path, "3:cpu,cpuacct:/docker/1\n1:memory:/docker/1\n", files)) == cpus


def test_a_limit_of_memory_bounds_it_and_cached_files_are_free(tmp_path: Path) -> None:
    stat = f"anon {20 * MIB}\nfile {50 * MIB}\nshmem {10 * MIB}\n"
    files = {"memory.max": f"{100 * MIB}\n", "memory.current": f"{70 * MIB}\n", "memory.stat": stat}
    root = machine(tmp_path, "0::/\n", files)
    assert memory_bytes(root) == 100 * MIB
    assert available_memory(root) == (100 - 30) * MIB


def test_version_1_says_the_same_of_memory(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": str(100 * MIB),
        "memory/memory.usage_in_bytes": str(70 * MIB),
        "memory/memory.stat": f"total_cache {50 * MIB}\ntotal_shmem {10 * MIB}\n",
    }
    root = machine(tmp_path, "4:memory:/\n", files)
    assert (memory_bytes(root), available_memory(root)) == (100 * MIB, 70 * MIB)


def test_no_limit_is_the_machines_memory(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {"memory.max": "max\n", "memory.current": "4096\n"})
    assert memory_bytes(root) == available_memory(root) == memory_bytes()


def test_what_others_use_is_not_available(tmp_path: Path) -> None:
    root = machine(tmp_path, "")
    (root / "proc" / "meminfo").write_text("MemTotal:  2048 kB\nMemAvailable:  1024 kB\n")
    assert available_memory(root) == MIB


def test_this_machine_has_some_of_each() -> None:
    assert usable_cpus() >= 1
    assert 16 * MIB < available_memory() <= memory_bytes() < 1 << 50
