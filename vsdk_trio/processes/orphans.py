"""Processes that are left behind: found, waited for, killed or reaped.

* The sweeper kills what has left the process group of its job with `setsid` and outlived the job.
* A worker that starts after one that died waits for the processes of the dead one, then kills them.
* As process 1 of a container, a worker reaps the zombies that it inherits. A process whose parent
  is gone becomes a child of process 1, and jobs leave such ones behind. Processes that the worker,
  its libraries or the agent has started are never touched: other code waits for those.

The first two know processes by their cookies, on Linux only. Elsewhere they find nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from ..system import proc
from ..system.backoff import next_delay
from ..system.threads import run_in_thread
from ..telemetry.logs.loggers import get_logger
from .guardian_main import count_marked, kill_marked

_GATHER_SECONDS: Final = 0.2
_FIRST_RETRY_SECONDS: Final = 1.0
_LAST_RETRY_SECONDS: Final = 30.0

logger = get_logger("vsdk_trio.orphans")


def kill_carriers(cookies: frozenset[str]) -> int:
    """SIGKILL every process that carries one of `cookies`; return how many there were."""
    wanted = {cookie.encode() for cookie in cookies}
    return kill_marked(wanted.__contains__)


class Sweeper:
    """Sweeps in a thread, for many jobs at a time: one look at the process table serves them all.

    Args:
        kill: Finds and kills processes by their cookies. Simulations have their own.
    """

    def __init__(self, kill: Callable[[frozenset[str]], int] = kill_carriers) -> None:
        self._kill = kill
        self._due: set[str] = set()
        self._is_due = trio.Event()
        self._pause = _GATHER_SECONDS
        self.killed = 0
        """How many processes it has had to kill."""

    def sweep(self, cookie: str) -> None:
        """Kill soon what a job process has left behind that is gone. Returns at once."""
        self._due.add(cookie)
        self._is_due.set()

    async def run(
        self,
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[Sweeper] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Sweep until `stopping`, and then once more; a service body."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep_for_ever)
            task_status.started(self)
            await stopping.wait()
            nursery.cancel_scope.cancel()
        await self._sweep_now()

    async def _sweep_for_ever(self) -> None:
        while True:
            await self._is_due.wait()
            # Jobs tend to end together.
            await trio.sleep(self._pause)
            await self._sweep_now()

    async def _sweep_now(self) -> None:
        self._is_due = trio.Event()
        cookies = frozenset(self._due)
        if not cookies:
            return
        try:
            killed = await run_in_thread("look at the process table", self._kill, cookies)
        except OSError as error:
            # Most often a shortage, which passes. The cookies stay due.
            if self._pause == _GATHER_SECONDS:
                logger.warning("cannot look for what jobs have left behind yet: %s", error)
            self._pause = next_delay(
                self._pause, first=_FIRST_RETRY_SECONDS, longest=_LAST_RETRY_SECONDS
            )
            self._is_due.set()
            return
        self._pause = _GATHER_SECONDS
        self._due -= cookies  # not before: the sweep at the end repeats a cancelled one
        self.killed += killed
        if killed:
            logger.warning("killed processes that jobs had left behind", extra={"count": killed})


_LOOK: Final = "look at the process table"
_LOOK_SECONDS: Final = 0.1
# What does not even die of SIGKILL in this time hangs in the kernel.
_KILL_SECONDS: Final = 5.0


class ProcessTable(Protocol):
    """All processes of the machine, as far as their cookies can be seen."""

    async def count(self, cookie_prefixes: Sequence[str]) -> int:
        """Return how many processes have a cookie with one of these prefixes.

        Raises:
            OSError: It cannot look; `kill` raises this as well.
        """
        ...

    async def kill(self, cookie_prefixes: Sequence[str]) -> int:
        """SIGKILL them and the processes that they start meanwhile; return how many."""
        ...


class KernelProcessTable:
    """The real one; Linux only, elsewhere it is empty."""

    async def count(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.count`."""
        return await run_in_thread(_LOOK, count_marked, _has_one_of(cookie_prefixes))

    async def kill(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.kill`."""
        return await run_in_thread(_LOOK, kill_marked, _has_one_of(cookie_prefixes))


def _has_one_of(cookie_prefixes: Sequence[str]) -> Callable[[bytes], bool]:
    # With its dot, or the prefix of one run could be the beginning of another's.
    beginnings = tuple(f"{prefix}.".encode() for prefix in cookie_prefixes if prefix)
    return lambda cookie: cookie.startswith(beginnings)


async def reap_orphans(
    table: ProcessTable, cookie_prefixes: Sequence[str], *, grace_seconds: float
) -> bool:
    """Wait until the processes of a dead worker are gone, and kill those that stay.

    They have seen the end of their worker and stop politely, callbacks included.

    Args:
        table: The processes of the machine.
        cookie_prefixes: The beginnings of their cookies.
        grace_seconds: How long they may take before they are killed.

    Returns:
        Whether they are gone. False if SIGKILL does not end them, or this process could not look.
    """
    if await _wait_until_gone(table, cookie_prefixes, grace_seconds):
        return True
    try:
        killed = await table.kill(cookie_prefixes)
    except OSError as error:
        logger.error("cannot look for processes that a dead worker may have left: %s", error)
        return False
    logger.warning("killed processes that a dead worker had left", extra={"count": killed})
    if await _wait_until_gone(table, cookie_prefixes, _KILL_SECONDS):
        return True
    logger.error("processes that a dead worker had left cannot be killed")
    return False


async def _is_none_left(table: ProcessTable, cookie_prefixes: Sequence[str]) -> bool:
    try:
        return not await table.count(cookie_prefixes)
    except OSError:
        return False  # that nothing can be seen does not say that nothing is there


async def _wait_until_gone(
    table: ProcessTable, cookie_prefixes: Sequence[str], seconds: float
) -> bool:
    deadline = trio.current_time() + seconds
    while not await _is_none_left(table, cookie_prefixes):
        if trio.current_time() >= deadline:
            return False
        await trio.sleep(_LOOK_SECONDS)
    return True


_ZOMBIE_LOOK_SECONDS: Final = 1.0
REAP_SECONDS: Final = 3.0
"""Seconds that a zombie stays, so that its exit status can still be read (`forked.py`)."""

_OURS: Final = b"vsdk_trio."  # of vsdk_trio.runner and vsdk_trio.forkserver.program


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
    """It has a job's cookie, and is neither a job process nor a template: a job has started it."""


@attrs.define
class AdoptedZombies:
    """Decides which zombies among the children of `me` are adopted. Pure.

    A child that `me` has started is in the session of `me` or leads its own one, has never had
    another parent, and was not started by a job. A child for which all of this may be true is left
    alone.
    """

    me: int
    session: int
    _not_born_here: set[_Key] = attrs.field(factory=set, init=False)
    _seen_dead: dict[_Key, float] = attrs.field(factory=dict, init=False)

    def look(self, rows: Iterable[ProcessRow], now: float) -> list[int]:
        """Look at all processes, and return the pids to reap.

        Args:
            rows: The processes.
            now: The time in seconds.
        """
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


async def reap_zombies(
    stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Look each second and reap, until `stopping`; a service body for process 1."""
    zombies = AdoptedZombies(me=os.getpid(), session=os.getsid(0))
    task_status.started()
    while not stopping.is_set():
        for pid in zombies.look(_all_processes(zombies.me), trio.current_time()):
            _reap(pid)
        with trio.move_on_after(_ZOMBIE_LOOK_SECONDS):
            await stopping.wait()


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0]:
            logger.info("reaped an orphan", extra={"pid": pid})


def _all_processes(me: int) -> Iterator[ProcessRow]:
    with suppress(OSError):  # no /proc, or no descriptor left: the next look finds them
        for pid in proc.list_pids():
            if (stat := proc.read_stat(pid)) is not None:
                yield _row(pid, stat, me)


def _row(pid: int, stat: proc.Stat, me: int) -> ProcessRow:
    return ProcessRow(
        pid=pid,
        parent=stat.parent,
        session=stat.session,
        started=stat.start_time,
        is_zombie=stat.is_zombie,
        is_of_a_job=stat.parent == me and _is_started_by_a_job(pid),
    )


def _is_started_by_a_job(pid: int) -> bool:
    # Asked of a child only: for others it makes no difference. A zombie shows neither any more.
    try:
        return bool(proc.read_cookie(pid)) and _OURS not in proc.read_command_line(pid)
    except OSError:
        return False
