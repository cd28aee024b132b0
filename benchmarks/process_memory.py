"""What processes occupy and use up, as Linux tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

KIB_PER_MIB = 1024
CAN_MEASURE = Path("/proc/self/smaps_rollup").exists()


def pss_mib(pid: int) -> float:
    """The proportional set size: what is shared counts with each one's share; 0 if gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / KIB_PER_MIB
    return 0.0


def tree_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text(encoding="ascii").split())
    return found


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, user and system."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def wakeups(pid: int) -> int:
    """How often the threads of a process have gone to sleep of their own accord."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            for line in status.read_text(encoding="utf-8").splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    count += int(line.split()[1])
    return count
