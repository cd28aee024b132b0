"""Kills what has left its job's process group with `setsid` and so outlived the job.

Knows cookies only. Linux only: elsewhere it finds nothing, and does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ..system.threads import run_in_thread
from ..telemetry.logs.loggers import get_logger
from .guardian_main import kill_marked

_GATHER_SECONDS: Final = 0.2
_FIRST_RETRY_SECONDS: Final = 1.0
_LAST_RETRY_SECONDS: Final = 30.0

logger = get_logger("vsdk_trio.sweeper")


def kill_carriers(cookies: frozenset[str]) -> int:
    """SIGKILL every process that carries one of `cookies`; return how many there were."""
    marks = {cookie.encode() for cookie in cookies}
    return kill_marked(marks.__contains__)


class Sweeper:
    """Sweeps in a thread, many jobs at a time: one look at the process table serves them all.

    Argument: `kill`, what finds and kills; for simulations, where there is no process table.
    """

    def __init__(self, kill: Callable[[frozenset[str]], int] = kill_carriers) -> None:
        self._kill = kill
        self._due: set[str] = set()
        self._is_due = trio.Event()
        self._pause = _GATHER_SECONDS
        self.killed = 0
        """How many processes it has had to kill."""

    def sweep(self, cookie: str) -> None:
        """A job process is gone: kill what it left behind, soon. Returns at once."""
        self._due.add(cookie)
        self._is_due.set()

    async def run(
        self,
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[Sweeper] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Service body: sweep until `stopping`, and once more then for what is due."""
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
            # Short of something, as a rule. That passes, and what is due stays due.
            if self._pause == _GATHER_SECONDS:
                logger.warning("cannot look for what jobs have left behind yet: %s", error)
            self._pause = min(max(2 * self._pause, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
            self._is_due.set()
            return
        self._pause = _GATHER_SECONDS
        self._due -= cookies  # not before: a cancelled sweep is made up for at the end
        self.killed += killed
        if killed:
            logger.warning("killed processes that jobs had left behind", extra={"count": killed})
