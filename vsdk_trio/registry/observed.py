"""What a registry decided, in the form in which it is observed.

Pure: from jobs and failures to observations; nobody is told here.
"""

from __future__ import annotations

from ..telemetry.events.registry import DispatchSettled, JobEnded
from .actions import DispatchFailure
from .ledger import Job


def settled(failure: DispatchFailure | None, job: Job | None, now: float) -> DispatchSettled:
    """A dispatch is decided; `job` is None where there never was one."""
    return DispatchSettled(
        job_id=None if job is None else job.job_id,
        failure=None if failure is None else failure.value,
        seconds=0.0 if job is None else now - job.created,
    )


def ended(job: Job, now: float) -> JobEnded:
    """A job has ended, or the record of its end was corrected."""
    until_running = None
    if job.assigned is not None and job.started is not None:
        until_running = job.started - job.assigned
    return JobEnded(
        job_id=job.job_id,
        state=job.state.value,
        is_presumed=job.presumed,
        until_running_seconds=until_running,
        seconds=(now if job.ended is None else job.ended) - job.created,
    )
