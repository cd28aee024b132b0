"""How much memory a job occupies: its process, its children, and all that is in its group.

The edge to the operating system. PSS where there is one: a page that several processes share counts
for each in part, so that a forked process is not charged for what it shares with its template.
Bounded in what it costs: reading PSS walks page tables, so it is read anew only when the resident
memory has changed, or after a while. Must not know jobs or limits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final

_MIB: Final = 1 << 20
# PSS is read again once the resident memory is off by more than both, or after that time.
_CHANGE_SHARE: Final = 0.05
_CHANGE_BYTES: Final = 4 * _MIB
_PSS_SECONDS: Final = 30.0
# One look at the whole process table serves all jobs for that long.
_TABLE_SECONDS: Final = 2.0
_HAS_PROC: Final = os.path.exists("/proc/self/statm")


class GroupMemory:
    """Measures the group that the process `leader` leads, and the leader's descendants."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._resident = 0
        self._proportional = 0
        self._read_at = -_PSS_SECONDS

    def look(self) -> float | None:
        """What all of them occupy in MiB; None once the leader is gone."""
        if not _HAS_PROC:
            return _without_proc(self._leader)
        leader = _stat(self._leader)
        if leader is None:
            return None
        members = {self._leader}
        if leader.may_have_descendants:
            members |= _TABLE.members(self._leader)
        resident = sum(map(_resident_bytes, members))
        change, now = abs(resident - self._resident), time.monotonic()
        has_changed = change > max(_CHANGE_BYTES, _CHANGE_SHARE * self._resident)
        if has_changed or now - self._read_at >= _PSS_SECONDS:
            self._resident, self._read_at = resident, now
            self._proportional = sum(map(_proportional_bytes, members))
        return self._proportional / _MIB


class _Stat:
    """What is needed of /proc/<pid>/stat."""

    __slots__ = ("group", "may_have_descendants", "parent")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.parent, self.group = int(fields[1]), int(fields[2])
        # Of children that it has waited for: their page faults. They may have left their own.
        had_children = fields[8] != b"0"
        self.may_have_descendants = had_children or _has_children(pid)


def _stat(pid: int) -> _Stat | None:
    fields = _stat_fields(pid)
    return None if fields is None or fields[0] == b"Z" else _Stat(pid, fields)


def _stat_fields(pid: int) -> list[bytes] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before them may hold anything, parentheses and blanks included.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _has_children(pid: int) -> bool:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                if file.read(1):
                    return True
    except FileNotFoundError:
        # A thread that has just ended, or a kernel that does not tell: then the table does.
        return True
    except OSError:
        pass
    return False


class _ProcessTable:
    """Who is whose child, and in which group, as of a moment ago."""

    def __init__(self) -> None:
        self._read_at = -_TABLE_SECONDS
        self._relations: list[tuple[int, int, int]] = []

    def members(self, leader: int) -> set[int]:
        """The processes in the leader's group, and its descendants wherever they are."""
        if time.monotonic() - self._read_at >= _TABLE_SECONDS:
            self._relations = list(_read_table())
            self._read_at = time.monotonic()
        found = {leader} | {pid for pid, _, group in self._relations if group == leader}
        while more := {pid for pid, parent, _ in self._relations if parent in found} - found:
            found |= more
        return found


_TABLE: Final = _ProcessTable()


def _read_table() -> Iterable[tuple[int, int, int]]:
    try:
        names = os.listdir("/proc")
    except OSError:  # no descriptor to look with: then what is known of a group is its leader
        return
    for name in names:
        if name.isdigit() and (fields := _stat_fields(int(name))) is not None:
            yield int(name), int(fields[1]), int(fields[2])


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _proportional_bytes(pid: int) -> int:
    """PSS; where the kernel does not tell it of this process, what is resident."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident_bytes(pid)


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
