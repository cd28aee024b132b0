"""Zombies that process 1 of a container inherits: found, and reaped where nothing waits for them.

A process whose parent is gone becomes the child of process 1. Jobs leave such ones behind. An init
reaps them; a worker without one does it here. What the worker, its libraries or the agent has
started itself is never touched: that is waited for elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeAlias

import attrs
import trio

from ..telemetry.logs.loggers import get_logger
from .edge import COOKIE_VARIABLE

_LOOK_SECONDS: Final = 1.0
REAP_SECONDS: Final = 3.0
"""How long a zombie stays: how it ended can still be looked up meanwhile (`forked.py`)."""

_COOKIE: Final = f"{COOKIE_VARIABLE}=".encode()
_OURS: Final = b"vsdk_trio."  # of vsdk_trio.runner and vsdk_trio.forkserver.program

logger = get_logger("vsdk_trio.orphans")

_Key: TypeAlias = tuple[int, int]


@attrs.frozen(kw_only=True)
class ProcessRow:
    """What /proc says of one process."""

    pid: int
    parent: int
    session: int
    started: int
    """Tells it from a later one with the same number."""
    is_zombie: bool
    is_of_a_job: bool = False
    """It carries a job's cookie, and is no job process nor a template: a job has started it."""


@attrs.define
class Orphans:
    """Decides which of the zombies among the children of `me` are adopted. Pure.

    A child of `me` by birth is in the session of `me` or leads its own one, has never had another
    parent, and was not started by a job. A child of which all of this may be true is left alone.
    """

    me: int
    session: int
    _not_born_here: set[_Key] = attrs.field(factory=set, init=False)
    _seen_dead: dict[_Key, float] = attrs.field(factory=dict, init=False)

    def look(self, rows: Iterable[ProcessRow], now: float) -> list[int]:
        """Take all processes as they are at `now`, in seconds; returns the pids to reap."""
        rows = list(rows)
        keys = {(row.pid, row.started) for row in rows}
        self._not_born_here &= keys
        self._not_born_here |= {
            (row.pid, row.started) for row in rows if row.parent != self.me or row.is_of_a_job
        }
        dead = {
            (row.pid, row.started)
            for row in rows
            if row.parent == self.me and row.is_zombie and self._is_adopted(row)
        }
        self._seen_dead = {key: self._seen_dead.get(key, now) for key in dead}
        return [pid for (pid, _), since in self._seen_dead.items() if now - since >= REAP_SECONDS]

    def _is_adopted(self, row: ProcessRow) -> bool:
        is_from_elsewhere = row.session not in (self.session, row.pid)
        return is_from_elsewhere or (row.pid, row.started) in self._not_born_here


async def reap_orphans(
    stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Service body, for process 1: look each second and reap, until `stopping`."""
    orphans = Orphans(me=os.getpid(), session=os.getsid(0))
    task_status.started()
    while not stopping.is_set():
        for pid in orphans.look(_all_processes(orphans.me), trio.current_time()):
            _reap(pid)
        with trio.move_on_after(_LOOK_SECONDS):
            await stopping.wait()


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0]:
            logger.info("reaped an orphan", extra={"pid": pid})


def _all_processes(me: int) -> Iterator[ProcessRow]:
    with suppress(OSError):  # no /proc, or no descriptor left: the next look finds them
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(ProcessLookupError, FileNotFoundError):
                    yield _row(int(name), me)


def _row(pid: int, me: int) -> ProcessRow:
    directory = f"/proc/{pid}"
    with open(f"{directory}/stat", "rb") as file:
        # The name before them may hold anything, parentheses and blanks included.
        fields = file.read().rpartition(b")")[2].split()
    parent = int(fields[1])
    return ProcessRow(
        pid=pid,
        parent=parent,
        session=int(fields[3]),
        started=int(fields[19]),
        is_zombie=fields[0] == b"Z",
        # Of a child only: the others' answer is known. What is dead shows neither any more.
        is_of_a_job=parent == me
        and _COOKIE in _read(f"{directory}/environ")
        and _OURS not in _read(f"{directory}/cmdline"),
    )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
