"""Watches the memory of a running job, and whether its event loop still answers.

A fault found here stops the job through its lifecycle; nothing is killed from here.
"""

from __future__ import annotations

import logging

import attrs
import trio

from ..jobs.lifecycle import StopCause
from ..processes.job_process import JobProcess
from .live_jobs import LiveJob

logger = logging.getLogger(__name__)

# How often a running job is looked at.
LOOK_SECONDS = 5.0


@attrs.frozen(kw_only=True)
class MemoryLimits:
    """Limits for one job process in MB; 0 means none."""

    warn_mb: float
    limit_mb: float


async def watch_health(process: JobProcess, job: LiveJob, limits: MemoryLimits) -> None:
    """Look at the job every few seconds, until cancelled or until it is over its limit."""
    warned = False
    while True:
        await trio.sleep(LOOK_SECONDS)
        used = process.memory_mb()
        if used is None:
            continue
        if 0 < limits.limit_mb < used:
            text = f"used {used:.0f} MB of memory, more than the limit of {limits.limit_mb:.0f} MB"
            job.stop(StopCause(text, is_fault=True))
            return
        if 0 < limits.warn_mb < used and not warned:
            warned = True
            logger.warning(
                "job uses %.0f MB of memory, more than %.0f MB",
                used,
                limits.warn_mb,
                extra={"job_id": job.job_id},
            )
