"""How long one job may take: until it ends, and until it has joined a room that is waited for.

Stops the job through its lifecycle. Knows neither the job's process nor what becomes of the stop.
"""

from __future__ import annotations

import math

import attrs
import trio

from ..control.frames import Start
from ..jobs.lifecycle import EndCause, StopCause
from ..options.room import JOIN_TIMEOUT_SECONDS
from .live_jobs import LiveJob


@attrs.frozen(kw_only=True)
class JobLimits:
    """The limits of a job that began just now, in seconds; `math.inf` for none."""

    began_at: float = attrs.field(factory=trio.current_time)
    """On Trio's clock."""
    run: float
    join: float

    @classmethod
    def of(cls, job: LiveJob, start: Start, default_run: float | None) -> JobLimits:
        """What its assignment says, else `default_run`; and its room options."""
        told = job.assignment
        run = told.timeout if told.timeout is not None and told.timeout > 0 else default_run
        join: float | None = None
        if told.wait:  # the room options are what differs from the defaults
            join = start.job["room_options"].get("join_timeout_seconds", JOIN_TIMEOUT_SECONDS)
        return cls(run=math.inf if run is None else run, join=math.inf if join is None else join)

    @property
    def next_at(self) -> float:
        """Until when there is nothing to watch, on Trio's clock."""
        return self.began_at + min(self.run, self.join)

    async def watch(self, job: LiveJob) -> None:
        """Stop the job when its time is up, or it has not joined in time."""
        if self.join < self.run:
            await trio.sleep_until(self.began_at + self.join)
            if not job.has_joined:
                _stop(job, f"has not joined its room within {self.join:g} s")
        await trio.sleep_until(self.began_at + self.run)
        _stop(job, f"ran longer than {self.run:g} s")


def _stop(job: LiveJob, text: str) -> None:
    job.stop(StopCause(text, is_fault=True, cause=EndCause.TIME_LIMIT))
