"""One job, from its assignment to the end of its process: the task that owns it.

Feeds the job's lifecycle with what the process says and does, and tells what comes of it. How a
process is found, spoken to and stopped is the business of `processes`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs
import trio

from ..control.frames import Finished, Frame, Joined, Pong, Running, Start
from ..control.job import JobInfo
from ..errors import FrameError, IllegalTransitionError, JobProcessError, OptionsError
from ..jobs.lifecycle import EndCause, Participant, StopCause, Update
from ..journal.journal import PATIENCE_SECONDS
from ..observations import JobAnswered, Observe
from ..processes.job_process import JobProcess
from ..processes.pool import Pool
from ..protocol.messages import JobAssignment
from ..protocol.vocabulary import JobFact
from .health_watch import MemoryLimits, watch_health
from .live_jobs import LiveJob

logger = logging.getLogger(__name__)

# How long the end of a job may take to be written down; a journal is given up before that.
TELL_SECONDS = 2 * PATIENCE_SECONDS

_FACT_OF = {
    "completed": JobFact.COMPLETED,
    "failed": JobFact.FAILED,
    "cancelled": JobFact.CANCELLED,
}


@attrs.frozen(kw_only=True)
class JobTools:
    """What every job's supervisor needs; times in seconds."""

    pool: Pool
    tell: Callable[[LiveJob, Update], None]
    release: Callable[[str], None]
    describe_job: Callable[[JobAssignment], JobInfo]
    job_timeout: float | None
    termination_timeout: float
    memory: MemoryLimits
    # Called for a job whose process had to be killed, so that the worker can end with that news.
    note_killed: Callable[[LiveJob], None]
    observe: Observe


async def supervise_job(job: LiveJob, *, tools: JobTools) -> None:
    """Run the job in a process of its own; its slot is released when the process is gone.

    Never raises for what a job does. Cancelled, it still sees to it that the process ends and that
    an end is told: the pool's `acquire` waits for the process under a shield.
    """
    try:
        start = Start(job=tools.describe_job(job.assignment).to_dict())
        await _run_somewhere(job, start, tools)
    except OptionsError as error:
        text = f"the assignment cannot be used: {error}"
        _tell(job, job.lifecycle.exit(text, EndCause.BAD_ASSIGNMENT), tools)
    finally:
        # Reached without an end only when this task was cancelled or has a bug.
        _tell(job, job.lifecycle.exit("the worker failed", EndCause.WORKER_FAILED), tools)
        if not job.end_told.is_set():
            # It is on its way to the disk, and must be known as long as it can be assigned again.
            with trio.move_on_after(TELL_SECONDS, shield=True):
                await job.end_told.wait()
        tools.release(job.job_id)


async def _run_somewhere(job: LiveJob, start: Start, tools: JobTools) -> None:
    async with AsyncExitStack() as stack:
        match await _acquire(job, stack, tools.pool):
            case JobProcess() as process:
                await _run_on(process, job, start, tools)
            case JobProcessError() as failure:
                _tell(job, job.lifecycle.exit(str(failure), EndCause.NO_PROCESS), tools)
            case None:
                _tell(job, job.lifecycle.abandon(), tools)


async def _acquire(
    job: LiveJob, stack: AsyncExitStack, pool: Pool
) -> JobProcess | JobProcessError | None:
    """A process, the reason why there is none, or None when the job was stopped meanwhile."""
    if pool.idle and job.accepted.is_settled and not job.stop_requested.is_set():
        # Nothing is waited for, so nothing can come in between: the shortest way to a warm start.
        return await stack.enter_async_context(pool.acquire())
    found: JobProcess | JobProcessError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_stopped, job, nursery.cancel_scope)
        try:
            found = await stack.enter_async_context(pool.acquire())
            # Not before it is written down: a next worker that knew nothing would run it again.
            await job.accepted.wait()
        except JobProcessError as error:
            found = error
        nursery.cancel_scope.cancel()
    return None if job.stop_requested.is_set() else found


async def _cancel_when_stopped(job: LiveJob, scope: trio.CancelScope) -> None:
    await job.stop_requested.wait()
    scope.cancel()


async def _run_on(process: JobProcess, job: LiveJob, start: Start, tools: JobTools) -> None:
    process.bind_job(job.job_id, job.log_fields, _secrets(start))
    job.lifecycle.start()
    job.progress.follow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_asked, process, job)
        nursery.start_soon(_limit_time, job, tools.job_timeout)
        nursery.start_soon(watch_health, process, job, tools.memory, tools.observe)
        await _send_start(process, job, start)
        await _follow(process, job, tools)
        with trio.move_on_after(tools.termination_timeout):
            await process.exited.wait()
        # What still lives after its last word is not waited for politely a second time.
        process.request_stop("the job has ended")
        await process.exited.wait()
        nursery.cancel_scope.cancel()
    cause = EndCause.PROCESS_DIED
    if process.exit.killed:
        tools.note_killed(job)
        cause = EndCause.PROCESS_KILLED
    _tell(job, job.lifecycle.exit(process.exit.describe(), cause), tools)


def _secrets(start: Start) -> list[str]:
    """What must not be read in the job's log."""
    values = (start.job.get("token"), start.job.get("room_options", {}).get("auth_token"))
    return [value for value in values if isinstance(value, str)]


async def _send_start(process: JobProcess, job: LiveJob, start: Start) -> None:
    try:
        await process.send(start)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the process is gone; how it went is told by its exit
    except FrameError as error:
        text = f"the assignment cannot be sent to the job: {error}"
        job.stop(StopCause(text, is_fault=True, cause=EndCause.BAD_ASSIGNMENT))


async def _follow(process: JobProcess, job: LiveJob, tools: JobTools) -> None:
    """Feed the lifecycle until the job has said its last word, or its process is gone."""
    async for frame in process.frames():
        try:
            update = _feed(job, frame, tools.observe)
        except IllegalTransitionError as error:
            # A job process is foreign code: what it says out of turn costs a line in the log.
            logger.warning("job process out of turn: %s", error, extra=job.log_fields)
            continue
        _tell(job, update, tools)
        if job.lifecycle.state.is_end:
            return


def _feed(job: LiveJob, frame: Frame, observe: Observe) -> Update | None:
    match frame:
        case Running():
            update = job.lifecycle.enter()
            job.progress.entrypoint_began()
            return update
        case Joined():
            return job.lifecycle.join(Participant(frame.participant_id, frame.participant_name))
        case Finished():
            return job.lifecycle.finish(_FACT_OF[frame.status], frame.error)
        case Pong():
            job.answered_pings = frame.seq
            lag = frame.lag_ms / 1000
            observe(JobAnswered(job_id=job.job_id, memory_mb=frame.memory_mb, lag_seconds=lag))
            return None
        case _:
            return None


async def _stop_when_asked(process: JobProcess, job: LiveJob) -> None:
    await job.stop_requested.wait()
    cause = job.lifecycle.stop_cause
    process.request_stop(cause.reason if cause is not None else "stopped")


async def _limit_time(job: LiveJob, default_seconds: float | None) -> None:
    """Stop the job when its time is up; an assignment's own `timeout` wins over the option."""
    own = job.assignment.timeout
    seconds = own if own is not None and own > 0 else default_seconds
    if seconds is not None:
        await trio.sleep(seconds)
        text = f"ran longer than {seconds:g} s"
        job.stop(StopCause(text, is_fault=True, cause=EndCause.TIME_LIMIT))


def _tell(job: LiveJob, update: Update | None, tools: JobTools) -> None:
    if update is None:
        return
    job.progress.follow()
    level = logging.WARNING if update.fact is JobFact.FAILED else logging.INFO
    text = update.fact.name.lower() + (f": {update.error}" if update.error else "")
    logger.log(level, "job %s", text, extra=job.log_fields)
    tools.tell(job, update)
