"""What a process occupies, as Linux tells it: memory, file descriptors, threads, children."""

from __future__ import annotations

import time
from pathlib import Path

import attrs
import psutil


@attrs.frozen(kw_only=True)
class Figures:
    """One look at a process; memory in MB."""

    jobs: int
    at: float
    rss_mb: float
    pss_mb: float
    fds: int
    threads: int
    processes: int
    """Everything below it that is no zombie, and itself."""

    def row(self, began: float) -> str:
        """As a line of a table; `began` is on the clock of `at`."""
        return (
            f"{self.jobs:>7} {self.at - began:>7.0f} {self.rss_mb:>8.1f} {self.pss_mb:>8.1f}"
            f" {self.fds:>5} {self.threads:>8} {self.processes:>10}"
        )


HEADER = (
    f"{'jobs':>7} {'seconds':>7} {'RSS MB':>8} {'PSS MB':>8}"
    f" {'fds':>5} {'threads':>8} {'processes':>10}"
)


def look(pid: int, *, jobs: int = 0) -> Figures:
    """Look at process `pid` once."""
    process = psutil.Process(pid)
    with process.oneshot():
        return Figures(
            jobs=jobs,
            at=time.monotonic(),
            rss_mb=process.memory_info().rss / (1 << 20),
            pss_mb=_pss_kb(pid) / 1024,
            fds=fd_count(pid),
            threads=process.num_threads(),
            processes=1 + sum(map(_lives, process.children(recursive=True))),
        )


def fd_count(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _pss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel tells no PSS of process {pid}")


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
