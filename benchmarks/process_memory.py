"""How much memory a process occupies, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

KB_PER_MB = 1024
CAN_MEASURE = Path("/proc/self/smaps_rollup").exists()


def pss_mb(pid: int) -> float:
    """The proportional set size in MB: what is shared counts for each sharer with its share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / KB_PER_MB
    raise RuntimeError(f"the kernel tells no PSS of process {pid}")


def children_of(pid: int) -> set[int]:
    """The process ids of the children of all threads of a process."""
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found.update(map(int, children.read_text(encoding="ascii").split()))
    return found
