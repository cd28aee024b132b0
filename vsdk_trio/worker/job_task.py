"""One job, from its assignment to the end of its process: the task that owns it.

Feeds the job's lifecycle with what the process says and does, and tells what comes of it. How a
process is found, spoken to and stopped is the business of `processes`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio

from ..control.frames import Finished, Frame, JobInfo, Joined, Pong, Running, Start
from ..errors import FrameError, IllegalTransitionError, JobProcessError, OptionsError
from ..jobs.lifecycle import EndCause, JobState, Participant, StopCause, Update
from ..journal.journal import DISK_TIMEOUT_SECONDS
from ..processes.job_process import JobProcess
from ..processes.pool import Pool
from ..protocol.messages import JobAssignment
from ..protocol.vocabulary import JobFact
from ..rooms.playground import show_playground
from ..telemetry.events import JobAnswered, Observe
from ..telemetry.logs.loggers import get_logger
from ..telemetry.traces.worker_traces import Traces
from .health_watch import HealthRules, watch_health
from .job_limits import JobLimits
from .live_jobs import LiveJob

logger = get_logger(__name__)

# How long the end of a job may take to be written down; a journal is given up before that.
TELL_SECONDS = 2 * DISK_TIMEOUT_SECONDS

# A process can die at the very moment in which it gets its job. Several can: but one whose job
# kills them must come to an end.
MAX_PROCESSES_TRIED = 3

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
    health: HealthRules
    # Called for a job whose process had to be killed, so that the worker can end with that news.
    note_killed: Callable[[LiveJob], None]
    observe: Observe
    traces: Traces


def supervise_job(job: LiveJob, *, tools: JobTools) -> Coroutine[Any, Any, None]:
    """Begin with the job, and return what runs it to its end: a task of its own is to await that.

    Where a process is idle it has been told the job when this returns, because any task that has
    to wake up for that would take as long as all the rest. Never raises.

    What is returned raises for nothing that a job does, and releases the slot when the process is
    gone. Cancelled, it still sees to it that the process ends and that an end is told: the pool's
    `acquire` waits for the process under a shield.
    """
    try:
        begun: _Begun | Exception = _begin(job, tools)
    except Exception as error:  # raised again by the task: there it is dealt with
        begun = error
    return _see_through(job, begun, tools)


@attrs.frozen
class _Begun:
    """What the job's process is told, and that process if one was idle."""

    start: Start
    process: JobProcess | None


def _begin(job: LiveJob, tools: JobTools) -> _Begun:
    told = job.assignment
    trace = tools.traces.begin(told.job_id, told.room_id, told.metadata or {})
    start = Start(job=tools.describe_job(told).to_dict(), trace=trace)
    return _Begun(start, _give_idle(job, start, tools.pool))


async def _see_through(job: LiveJob, begun: _Begun | Exception, tools: JobTools) -> None:
    try:
        if isinstance(begun, Exception):
            raise begun
        await _run_somewhere(job, begun, tools)
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


async def _run_somewhere(job: LiveJob, begun: _Begun, tools: JobTools) -> None:
    """Give the job to a process; to another one where that was dead before the job could begin."""
    start, process = begun.start, begun.process
    for attempts_left in reversed(range(MAX_PROCESSES_TRIED)):
        if process is not None:
            try:
                await _run_on(process, job, start, tools)
            finally:
                await tools.pool.give_back(process)
        else:
            async with AsyncExitStack() as stack:
                process = await _acquire(job, stack, tools)
                if process is None:
                    return
                process.give_now(start)
                _note_process(job, process, start)
                await _run_on(process, job, start, tools)
        exit = process.exit
        # A process says that the job begins before a line of it runs.
        if job.lifecycle.state is not JobState.STARTING or not attempts_left:
            cause = EndCause.PROCESS_KILLED if exit.killed else EndCause.PROCESS_DIED
            _tell(job, job.lifecycle.exit(exit.describe(), cause), tools)
            return
        job.lifecycle.lose()
        job.progress.follow()
        text = "the job gets another process, this one ended before it began: %s"
        logger.warning(text, exit.describe(), extra=job.log_fields)
        process = _give_idle(job, start, tools.pool)


def _give_idle(job: LiveJob, start: Start, pool: Pool) -> JobProcess | None:
    """The shortest way to a process: nothing is waited for, so nothing can come in between."""
    if not job.accepted.is_settled or job.stop_requested.is_set():
        return None
    process = pool.take_idle(lambda process: process.give_now(start))
    if process is not None:
        _note_process(job, process, start)
    return process


def _note_process(job: LiveJob, process: JobProcess, start: Start) -> None:
    """The job has its process, which was told first of all, if that was possible."""
    job.stop_process = process.request_stop
    process.bind_job(job.job_id, job.log_fields, [start.job["token"]])
    job.progress.follow()
    job.lifecycle.start()
    job.progress.follow()


async def _acquire(job: LiveJob, stack: AsyncExitStack, tools: JobTools) -> JobProcess | None:
    """Wait for a process. None where there is none, or the job was stopped meanwhile: told so."""
    found: JobProcess | JobProcessError | None = None
    with trio.CancelScope() as scope:
        job.stop_process = lambda _: scope.cancel()
        if job.stop_requested.is_set():
            scope.cancel()
        try:
            found = await stack.enter_async_context(tools.pool.acquire())
            # Not before it is written down: a next worker that knew nothing would run it again.
            if not job.accepted.is_settled:
                await job.accepted.wait()
        except JobProcessError as error:
            found = error
    if job.stop_requested.is_set():
        _tell(job, job.lifecycle.abandon(), tools)
        return None
    if isinstance(found, JobProcessError):
        _tell(job, job.lifecycle.exit(str(found), EndCause.NO_PROCESS), tools)
        return None
    return found


async def _run_on(process: JobProcess, job: LiveJob, start: Start, tools: JobTools) -> None:
    is_told = process.was_given_job
    limits = JobLimits.of(job, start, tools.job_timeout)
    look_at = limits.began_at + tools.health.first_look
    # Until then nothing is to be watched, and what watches would be in the way of the job.
    calm = trio.CancelScope(deadline=min(look_at, limits.next_at))
    if is_told:
        with calm:
            await _follow(process, job, tools, start)
    if not is_told or calm.cancelled_caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(limits.watch, job)
            nursery.start_soon(watch_health, process, job, tools.health, tools.observe, look_at)
            if not is_told:
                await _send_start(process, job, start)
            await _follow(process, job, tools, start)
            nursery.cancel_scope.cancel()
    with trio.move_on_after(tools.termination_timeout):
        await process.exited.wait()
    # What still lives after its last word is not waited for politely a second time.
    process.request_stop("the job has ended")
    await process.exited.wait()
    if process.exit.killed:
        tools.note_killed(job)


async def _send_start(process: JobProcess, job: LiveJob, start: Start) -> None:
    try:
        await process.send(start)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the process is gone; how it went is told by its exit
    except FrameError as error:
        text = f"the assignment cannot be sent to the job: {error}"
        job.stop(StopCause(text, is_fault=True, cause=EndCause.BAD_ASSIGNMENT))


async def _follow(process: JobProcess, job: LiveJob, tools: JobTools, start: Start) -> None:
    """Feed the lifecycle until the job has said its last word, or its process is gone."""

    def take(frame: Frame) -> bool:
        if isinstance(frame, Joined):
            job.has_joined = True
            if frame.playground:
                show_playground(frame.playground, str(start.job.get("token", "")))
        try:
            update = _feed(job, frame, tools.observe)
        except IllegalTransitionError as error:
            # A job process is foreign code: what it says out of turn costs a line in the log.
            logger.warning("job process out of turn: %s", error, extra=job.log_fields)
            return False
        _tell(job, update, tools)
        tools.pool.answered(process)
        return isinstance(frame, Finished)

    await process.hand_frames_to(take)


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
            lag = frame.lag_ms / 1000
            observe(JobAnswered(job_id=job.job_id, memory_mb=frame.memory_mb, lag_seconds=lag))
            return None
        case _:
            return None


def _tell(job: LiveJob, update: Update | None, tools: JobTools) -> None:
    if update is None:
        return
    job.progress.follow()
    level = logging.WARNING if update.fact is JobFact.FAILED else logging.INFO
    text = f"{job.lifecycle.state}: {update.error}" if update.error else job.lifecycle.state
    logger.log(level, "job %s", text, extra=job.log_fields)
    tools.tell(job, update)
