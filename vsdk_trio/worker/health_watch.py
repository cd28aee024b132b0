"""Watches a running job: its memory, and whether its event loop still answers.

A fault found here stops the job through its lifecycle, or is said in the log; nothing is killed
from here.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import attrs
import trio

from ..control.frames import Ping
from ..jobs.lifecycle import EndCause, StopCause
from ..observations import LoopBlocked, LoopFreed, MemoryWarned, Observe
from ..processes.job_process import JobProcess
from .live_jobs import LiveJob

logger = logging.getLogger(__name__)

# How often a running job is looked at, and asked for a sign of life.
LOOK_SECONDS = 5.0


@attrs.frozen(kw_only=True)
class MemoryLimits:
    """Limits for one job process in MB; 0 means none."""

    warn_mb: float
    limit_mb: float


async def watch_health(
    process: JobProcess, job: LiveJob, limits: MemoryLimits, observe: Observe
) -> None:
    """Look at the job every few seconds, until cancelled or until it is over its limit."""
    watch = _Watch(process, job, limits, observe)
    while True:
        await trio.sleep(LOOK_SECONDS)
        if not watch.memory_is_within_limit():
            return
        await watch.ping()


class _Watch:
    """What has been seen of one job so far, so that each thing is said once."""

    def __init__(
        self, process: JobProcess, job: LiveJob, limits: MemoryLimits, observe: Observe
    ) -> None:
        self._observe = observe
        self._process = process
        self._job = job
        self._limits = limits
        self._fields = {"job_id": job.job_id}
        self._warned_of_memory = False
        self._pings = 0
        self._silent_since: float | None = None

    def memory_is_within_limit(self) -> bool:
        """Warn at one limit, stop the job at the other."""
        used, limits = self._process.memory_mb(), self._limits
        if used is None:
            return True
        if 0 < limits.limit_mb < used:
            text = f"used {used:.0f} MB of memory, more than the limit of {limits.limit_mb:.0f} MB"
            self._job.stop(StopCause(text, is_fault=True, cause=EndCause.MEMORY_LIMIT))
            return False
        if 0 < limits.warn_mb < used and not self._warned_of_memory:
            self._warned_of_memory = True
            self._observe(MemoryWarned(job_id=self._job.job_id, memory_mb=used))
            text = "job uses %.0f MB of memory, more than %.0f MB"
            logger.warning(text, used, limits.warn_mb, extra=self._fields)
        return True

    async def ping(self) -> None:
        """Ask for a sign of life; say so when none comes, and when one comes again.

        One ping at a time: those to a job that does not read must not fill its pipe.
        """
        now = trio.current_time()
        if self._job.answered_pings < self._pings:
            if self._silent_since is None:
                self._silent_since = now - LOOK_SECONDS
                self._observe(LoopBlocked(job_id=self._job.job_id))
                text = "job does not answer: something blocks its event loop"
                logger.warning(text, extra=self._fields)
            return
        if self._silent_since is not None:
            text = "job answers again; its event loop was blocked for about %.0f s"
            blocked = now - self._silent_since
            logger.warning(text, blocked, extra=self._fields)
            self._observe(LoopFreed(job_id=self._job.job_id, seconds=blocked))
            self._silent_since = None
        self._pings += 1
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._process.send(Ping(seq=self._pings))
