"""How much CPU a container grants to this process, and how much of that is used: cgroups.

A leaf; the standard library only. Reads files and computes nothing over time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from . import proc


@attrs.frozen(kw_only=True)
class CpuQuota:
    """A limit of `cpus` CPUs for everything in one cgroup."""

    cpus: float
    usage: Path
    key: str
    """Where in the file the figure is; "" where there is nothing else in it."""
    units_per_second: float

    def used_seconds(self) -> float:
        """Return the CPU time that the cgroup has used, in seconds.

        Raises:
            OSError: The figure cannot be read.
        """
        text = self.usage.read_text()
        if self.key:
            values = dict(line.split() for line in text.splitlines())
            text = values[self.key]
        return int(text) / self.units_per_second


def count_processors() -> int:
    """Return how many processors this process can use, at least 1.

    That is the number on which it may run, or the quota of its container, rounded up, if that is
    less: a container of two CPUs on a machine of 64 has 2. No other code counts processors.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    if (quota := find_cpu_quota()) is not None:
        count = min(count, math.ceil(quota.cpus))
    return max(count, 1)


def find_cpu_quota(root: Path = Path("/")) -> CpuQuota | None:
    """Return the tightest limit on this process's CPU time; None if there is none.

    It reads both versions of cgroups. In a container the limit is at the container's own root.

    Args:
        root: The root of the file system.
    """
    quotas: list[CpuQuota] = []
    for line in proc.read_cgroups(str(root)):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += _version_2(root / "sys/fs/cgroup", path)
        elif "cpu" in controllers.split(","):
            quotas += _version_1(root / "sys/fs/cgroup", path)
    return min(quotas, key=lambda quota: quota.cpus, default=None)


def _version_2(mount: Path, path: str) -> Iterator[CpuQuota]:
    for directory in _upwards(mount, path):
        quota, _, period = _read(directory / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and (directory / "cpu.stat").exists():
            yield CpuQuota(
                cpus=int(quota) / int(period),
                usage=directory / "cpu.stat",
                key="usage_usec",
                units_per_second=1e6,
            )


def _version_1(mount: Path, path: str) -> Iterator[CpuQuota]:
    for name in ("cpu", "cpu,cpuacct"):
        for directory in _upwards(mount / name, path):
            quota = _read(directory / "cpu.cfs_quota_us")  # -1: no limit
            period = _read(directory / "cpu.cfs_period_us")
            usage = mount / name.replace("cpu", "cpuacct", name == "cpu")
            usage = usage / directory.relative_to(mount / name) / "cpuacct.usage"
            if quota.isdigit() and period.isdigit() and usage.exists():
                yield CpuQuota(
                    cpus=int(quota) / int(period), usage=usage, key="", units_per_second=1e9
                )


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The directory of a cgroup and of all around it; in a container the inner ones are hidden."""
    directory = mount / path.strip("/")
    yield directory
    while directory != mount:
        directory = directory.parent
        yield directory


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
