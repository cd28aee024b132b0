"""Watches a running job: its memory, and whether its event loop still answers.

A fault that is found here goes to the engine, which stops the job, or into the log. Only a job that
goes on growing above its memory limit, instead of stopping, is killed from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs
import trio

from ..jobs.lifecycle import EndCause, StopCause
from ..processes.job_process import JobProcess
from ..telemetry.events import LoopBlocked, LoopFreed, MemoryWarned, Observe
from ..telemetry.logs.loggers import get_logger, log_with_trace
from .actions import Event, FaultFound

logger = get_logger(__name__)

# What a job uses then is what it has grown from; by then its own modules are mostly loaded.
BASELINE_SECONDS = 1.0
# A job that is being stopped for its memory is looked at so often, and killed when it has grown so.
_STOPPING_LOOK_SECONDS = 0.5
_KILL_GROWTH = 1.25


@attrs.frozen(kw_only=True)
class HealthRules:
    """When a job is looked at, in seconds, and what is too much, in MB; 0 means never."""

    interval: float
    loop_warn_after: float
    memory_warn_mb: float
    memory_limit_mb: float
    memory_warn_cooldown: float

    @property
    def first_look(self) -> float:
        """How long after its beginning a job is looked at first."""
        return min(BASELINE_SECONDS, self.interval)


@attrs.frozen(kw_only=True)
class WatchedJob:
    """The job, as far as its watch needs to know it."""

    job_id: str
    log_fields: Mapping[str, str]
    receive: Callable[[Event], None]
    is_over: Callable[[], bool]
    """Whether the job has said its last word."""

    def stop(self, cause: StopCause) -> None:
        """Have the job stopped."""
        self.receive(FaultFound(self.job_id, cause))


async def watch_health(
    process: JobProcess, job: WatchedJob, rules: HealthRules, observe: Observe, begin_at: float
) -> None:
    """Look at the job every few seconds from `begin_at`, on Trio's clock, until cancelled."""
    await trio.sleep_until(begin_at)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_MemoryWatch(process, job, rules, observe).run)
        nursery.start_soon(_LoopWatch(process, job, rules, observe).run)


class _MemoryWatch:
    """Warns of memory at one limit, and stops the job at the other."""

    def __init__(
        self, process: JobProcess, job: WatchedJob, rules: HealthRules, observe: Observe
    ) -> None:
        self._process = process
        self._job = job
        self._rules = rules
        self._observe = observe
        self._began = trio.current_time()
        self._at_start = process.memory_mb()
        self._may_warn_at = self._began
        self._last = (self._began, self._at_start)

    async def run(self) -> None:
        """Look at the memory until the job is above its limit, then stop the job."""
        rules = self._rules
        used = self._at_start
        while used is None or not 0 < rules.memory_limit_mb < used:
            if used is not None and 0 < rules.memory_warn_mb < used:
                self._warn(used)
            await trio.sleep(self._time_to_next_look(used))
            used = self._process.memory_mb()
        limit = rules.memory_limit_mb
        text = f"used {used:.0f} MB of memory, more than the limit of {limit:.0f} MB"
        self._job.stop(StopCause(text, is_fault=True, cause=EndCause.MEMORY_LIMIT))
        await self._kill_if_it_goes_on(_KILL_GROWTH * used)

    def _time_to_next_look(self, used: float | None) -> float:
        """Sooner where, at the pace of its growth, the job would be over its limit before."""
        interval, limit = self._rules.interval, self._rules.memory_limit_mb
        before, self._last = self._last, (trio.current_time(), used)
        if used is None or before[1] is None or not limit or used <= before[1]:
            return interval
        pace = (used - before[1]) / max(self._last[0] - before[0], _STOPPING_LOOK_SECONDS)
        return min(interval, max(_STOPPING_LOOK_SECONDS, (limit - used) / pace / 2))

    def _warn(self, used: float) -> None:
        now = trio.current_time()
        if now < self._may_warn_at:
            return
        self._may_warn_at = now + self._rules.memory_warn_cooldown
        self._observe(MemoryWarned(job_id=self._job.job_id, memory_mb=used))
        logger.warning(
            "job uses %.0f MB of memory, more than %.0f MB; %.0f MB more than %.0f s ago, "
            "when it began",
            used,
            self._rules.memory_warn_mb,
            used - (used if self._at_start is None else self._at_start),
            now - self._began,
            extra=self._job.log_fields,
        )

    async def _kill_if_it_goes_on(self, limit: float) -> None:
        """A job that leaks faster than it stops must not take the machine down."""
        while True:
            await trio.sleep(_STOPPING_LOOK_SECONDS)
            used = self._process.memory_mb()
            if used is not None and used > limit:
                text = "job is killed: asked to stop for its memory, it grew to %.0f MB"
                logger.error(text, used, extra=self._job.log_fields)
                self._process.kill()
                return


class _LoopWatch:
    """Pings the job; where no answer comes, says which code keeps it from answering."""

    def __init__(
        self, process: JobProcess, job: WatchedJob, rules: HealthRules, observe: Observe
    ) -> None:
        self._process = process
        self._job = job
        self._rules = rules
        self._observe = observe

    async def run(self) -> None:
        """Ping until the job has ended, or cannot hear any more because it is being stopped.

        One ping at a time: those to a job that does not read must not fill its pipe.
        """
        while not self._job.is_over():
            try:
                answered = await self._process.ping()
            except trio.BrokenResourceError:
                return
            await self._follow(answered, trio.current_time())
            await trio.sleep(self._rules.interval)

    async def _follow(self, answered: trio.Event, asked_at: float) -> None:
        warn_after = self._rules.loop_warn_after or float("inf")
        with trio.move_on_after(warn_after):
            await answered.wait()
        if answered.is_set():
            if (lag := self._process.lag_seconds or 0.0) >= warn_after:
                self._blocked(f"blocked its event loop for {lag:.1f} s", "")
                self._freed(lag)
        elif not self._job.is_over():
            await self._report_block(asked_at)
            await answered.wait()
            self._report_end(trio.current_time() - asked_at)

    async def _report_block(self, asked_at: float) -> None:
        text = f"blocks its event loop for {trio.current_time() - asked_at:.1f} s"
        stacks = await self._process.stacks()
        if not stacks:
            text += "; where, it cannot tell"
        self._blocked(text, stacks)

    def _report_end(self, waited: float) -> None:
        # It may have been blocked for a while when it was asked, and knows.
        blocked = max(waited, self._process.lag_seconds or 0.0)
        text = "job answers again; its event loop was blocked for %.1f s"
        logger.warning(text, blocked, extra=self._job.log_fields)
        self._freed(blocked)

    def _blocked(self, text: str, trace: str) -> None:
        self._observe(LoopBlocked(job_id=self._job.job_id))
        fields = self._job.log_fields
        log_with_trace(logger, logging.WARNING, "job %s", text, trace=trace, extra=fields)

    def _freed(self, seconds: float) -> None:
        self._observe(LoopFreed(job_id=self._job.job_id, seconds=seconds))
