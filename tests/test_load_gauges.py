"""Ready-made `load_fnc`s."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vsdk_trio import load
from vsdk_trio.load import CpuLoad
from vsdk_trio.system.cpu_quota import find_cpu_quota


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock, and a process that may run on two CPUs of four."""
    now = [100.0]
    monkeypatch.setattr(load.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2}, raising=False)
    monkeypatch.setattr(load, "find_cpu_quota", lambda: None)
    return now


def scripted(gauge: CpuLoad, *readings: list[float]) -> CpuLoad:
    answers = iter(readings)
    gauge._cpu_percent = lambda interval, percpu: next(answers)  # type: ignore[assignment, misc]
    return gauge


def test_cpu_load_is_a_share_that_is_kept_for_a_window(now: list[float]) -> None:
    gauge = scripted(CpuLoad(window=1.0), [0.0, 40.0, 60.0, 0.0], [0.0, 80.0, 80.0, 0.0])
    assert gauge() == 0.0
    now[0] += 1
    assert gauge() == 0.5
    assert gauge() == 0.5
    now[0] += 1
    assert gauge() == 0.8


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        # A container: its own cgroup is the root that it sees.
        (
            {
                "proc/self/cgroup": "0::/\n",
                f"{V2}/cpu.max": "50000 100000\n",
                f"{V2}/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
            },
            (0.5, 2.5),
        ),
        # A unit without a limit in a slice with one.
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.service\n",
                f"{V2}/a.slice/b.service/cpu.max": "max 100000\n",
                f"{V2}/a.slice/cpu.max": "200000 100000\n",
                f"{V2}/a.slice/cpu.stat": "usage_usec 1000000\n",
            },
            (2.0, 1.0),
        ),
        (
            {
                "proc/self/cgroup": "3:cpuset:/\n1:cpu:/pod\n0::/\n",
                f"{V1}/pod/cpu.cfs_quota_us": "150000\n",
                f"{V1}/pod/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpuacct/pod/cpuacct.usage": "3000000000\n",
            },
            (1.5, 3.0),
        ),
        (
            {
                "proc/self/cgroup": "1:cpu,cpuacct:/\n",
                f"{V1},cpuacct/cpu.cfs_quota_us": "100000\n",
                f"{V1},cpuacct/cpu.cfs_period_us": "100000\n",
                f"{V1},cpuacct/cpuacct.usage": "1000000000\n",
            },
            (1.0, 1.0),
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                f"{V1}/cpu.cfs_quota_us": "-1\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpuacct/cpuacct.usage": "1\n",
            },
            None,
        ),
    ],
)
def test_a_limit_of_cpu_time_is_found(
    tmp_path: Path, files: dict[str, str], expected: tuple[float, float] | None
) -> None:
    quota = find_cpu_quota(make(tmp_path, files))
    assert (None if quota is None else (quota.cpus, quota.used_seconds())) == expected


def test_in_a_container_the_share_is_that_of_its_limit(
    now: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        f"{V2}/cpu.max": "50000 100000\n",
        f"{V2}/cpu.stat": "usage_usec 0\n",
    }
    monkeypatch.setattr(load, "find_cpu_quota", lambda: find_cpu_quota(make(tmp_path, files)))
    gauge = scripted(CpuLoad(window=1.0), *[[10.0] * 4] * 3)
    for used_seconds, share in [(0.8, 0.8), (0.9, 0.1), (3.0, 1.0)]:
        (tmp_path / V2 / "cpu.stat").write_text(f"usage_usec {int(used_seconds * 1e6)}\n")
        now[0] += 2
        assert gauge() == pytest.approx(share)


def test_cpu_load_measures_this_machine() -> None:
    assert 0.0 <= CpuLoad(window=0.0)() <= 1.0
