"""What of this machine a process may use: CPUs and main memory, within the limits of its control groups.

Contract: asks the operating system at each call. A container's limits are those of its control groups (versions 1 and
2) and of all above that can be seen from within; elsewhere than on Linux there are none. `root` is where `/proc` and
`/sys` are looked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def usable_cpus(root: Path = ROOT) -> int:
    """How many CPUs this process can keep busy: those it may run on, but no more than its groups have a quota of."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu", root):
        quota, period = _cpu_quota(group)
        if quota > 0 < period:
            count = min(count, math.ceil(quota / period))
    return count


def memory_bytes(root: Path = ROOT) -> int:
    """Main memory of the machine, whoever uses it, or what the groups may have of it."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *(limit for group in _groups("memory", root) if (limit := _memory_limit(group)) is not None)])


def available_memory(root: Path = ROOT) -> int:
    """Bytes that this process and its children may still use; what only caches files counts as free."""
    free = memory_bytes(root)
    kibibytes = _fields(root / "proc" / "meminfo").get("MemAvailable:")
    free = free if kibibytes is None else min(free, kibibytes * 1024)
    for group in _groups("memory", root):
        limit, used = _memory_limit(group), _memory_used(group)
        if limit is not None and used is not None:
            free = min(free, max(limit - used, 0))
    return free


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the control groups of this process, from its own up to the top."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / (controller if controllers else "")
        own = top / path.strip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _cpu_quota(group: Path) -> tuple[int, int]:
    """Microseconds of CPU time in each period, and the period; 0 or less is no limit."""
    quota, _, period = _text(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()
    return (int(quota), int(period)) if quota.lstrip("-").isdigit() and period.isdigit() else (0, 0)


def _memory_limit(group: Path) -> int | None:
    return _number(group / "memory.max", group / "memory.limit_in_bytes")


def _memory_used(group: Path) -> int | None:
    """Bytes that a group uses, without the files that it caches."""
    used = _number(group / "memory.current", group / "memory.usage_in_bytes")
    stat = _fields(group / "memory.stat")
    files = stat.get("file", stat.get("total_cache", 0)) - stat.get("shmem", stat.get("total_shmem", 0))
    return None if used is None else max(used - files, 0)


def _number(*files: Path) -> int | None:
    """The number in the first of these files that holds one."""
    return next((int(text) for file in files if (text := _text(file).strip()).isdigit()), None)


def _fields(file: Path) -> dict[str, int]:
    """The numbers of a file whose lines are a name and a number each."""
    lines = (line.split() for line in _text(file).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _text(file: Path) -> str:
    """What a file holds; nothing if it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
