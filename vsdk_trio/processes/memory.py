"""How much memory and CPU a job uses: its process, its descendants, and all processes of its group.

Memory is PSS if the kernel tells it. A page that several processes share then counts for each in
part, so a forked process is not charged for the pages that it shares with its template. Reading PSS
walks page tables, so it is read again only when the resident memory has changed, or after a while.

Knows neither jobs nor limits.
"""

from __future__ import annotations

import time
from typing import Final

from ..system import proc

_MIB: Final = 1 << 20
# PSS is read again once the resident memory is off by more than both, or after that time.
_CHANGE_SHARE: Final = 0.05
_CHANGE_BYTES: Final = 4 * _MIB
_PSS_SECONDS: Final = 30.0
# One look at the whole process table serves all jobs for that long.
_TABLE_SECONDS: Final = 2.0


class GroupMemory:
    """Measures the group that the process `leader` leads, and the leader's descendants."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._resident = 0
        self._proportional = 0
        self._read_at = -_PSS_SECONDS

    def look(self) -> float | None:
        """Return the memory of all of them in MiB; None once the leader is gone."""
        if not proc.HAS_PROC:
            return _without_proc(self._leader)
        leader = proc.read_stat(self._leader)
        if leader is None or leader.is_zombie:
            return None
        members = {self._leader}
        # Children that it has waited for may have left their own.
        if leader.had_children or proc.may_have_children(self._leader):
            members |= _FAMILIES.members(self._leader)
        resident = sum(map(proc.resident_bytes, members))
        change, now = abs(resident - self._resident), time.monotonic()
        has_changed = change > max(_CHANGE_BYTES, _CHANGE_SHARE * self._resident)
        if has_changed or now - self._read_at >= _PSS_SECONDS:
            self._resident, self._read_at = resident, now
            self._proportional = sum(map(proc.proportional_bytes, members))
        return self._proportional / _MIB


class _Families:
    """The parent and the group of each process, as of a moment ago."""

    def __init__(self) -> None:
        self._read_at = -_TABLE_SECONDS
        self._relations: list[tuple[int, int, int]] = []

    def members(self, leader: int) -> set[int]:
        """Return the processes in the leader's group, and its descendants wherever they are."""
        if time.monotonic() - self._read_at >= _TABLE_SECONDS:
            self._relations = _read_relations()
            self._read_at = time.monotonic()
        found = {leader} | {pid for pid, _, group in self._relations if group == leader}
        while more := {pid for pid, parent, _ in self._relations if parent in found} - found:
            found |= more
        return found


_FAMILIES: Final = _Families()


def _read_relations() -> list[tuple[int, int, int]]:
    try:
        pids = proc.list_pids()
    except OSError:  # no descriptor to look with: only the leader of a group is known then
        return []
    stats = ((pid, proc.read_stat(pid)) for pid in pids)
    return [(pid, stat.parent, stat.group) for pid, stat in stats if stat is not None]


def used_cpu_seconds(pid: int) -> float | None:
    """Return the CPU time that a process has used so far; None if it cannot be seen."""
    try:
        import psutil  # late: a worker that never asks need not load it
    except (ImportError, OSError):  # no descriptor to load it with
        return None
    try:
        used = psutil.Process(pid).cpu_times()
    except (psutil.Error, OSError):  # gone, or no descriptor to look with
        return None
    return float(used.user + used.system)


def _without_proc(leader: int) -> float | None:
    # Imported late: a worker that never asks need not load it.
    import psutil

    try:
        process = psutil.Process(leader)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    return sum(map(_psutil_bytes, family)) / _MIB


def _psutil_bytes(process: object) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)  # type: ignore[attr-defined]  # a psutil.Process
    except psutil.Error:
        return 0
