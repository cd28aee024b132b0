"""One job and its process: the task that owns both, from `StartJob` to the end of the process.

It finds a process, gives it the job, and passes on what the process says and how it ends. What
follows from that is the engine's to decide; how a process is started and stopped is in `processes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import attrs
import trio

from ..control.frames import Finished, Frame, Joined, Start
from ..errors import FrameError, JobProcessError, OptionsError
from ..jobs.lifecycle import EndCause, StopCause
from ..options.room import JOIN_TIMEOUT_SECONDS
from ..processes.job_process import JobProcess
from ..processes.pool import Pool
from ..protocol.messages import JobAssignment
from ..rooms.playground import show_playground
from ..telemetry.events import Observe
from ..telemetry.traces.worker_traces import Traces
from .actions import Event, FaultFound, ProcessGiven, ProcessSaid, RunEnded
from .health_watch import HealthRules, WatchedJob, watch_health
from .start_message import StartMessages

_WORKER_FAILED: Final = "the worker failed"


@attrs.define(eq=False, kw_only=True)
class _Run:
    """A job that is being given to a process, or has one."""

    assignment: JobAssignment
    log_fields: Mapping[str, str]
    start: Start
    waiting: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the wait for a process."""
    process: JobProcess | None = None

    @property
    def job_id(self) -> str:
        return self.assignment.job_id

    def stop(self, reason: str) -> None:
        """Ask the process to stop; before there is one, end the wait for it."""
        if self.process is not None:
            self.process.request_stop(reason)
        else:
            self.waiting.cancel()

    @property
    def join_timeout(self) -> float | None:
        """How long the job may take to join its room, where that is waited for."""
        if not self.assignment.wait:
            return None
        # The room options are those that differ from the defaults.
        seconds: float | None = self.start.job["room_options"].get(
            "join_timeout_seconds", JOIN_TIMEOUT_SECONDS
        )
        return seconds


class JobSupervisor:
    """Runs each job in a task of its own, and reports what happens to `receive`.

    Args:
        is_over: Whether a job has sent its last frame.
        on_bug: Called with each bug, as it is found.
        termination_timeout: Seconds that a process has to exit after its last frame.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        messages: StartMessages,
        receive: Callable[[Event], None],
        is_over: Callable[[str], bool],
        on_bug: Callable[[Exception], None],
        termination_timeout: float,
        health: HealthRules,
        observe: Observe,
        traces: Traces,
    ) -> None:
        self._pool = pool
        self._messages = messages
        self._receive = receive
        self._is_over = is_over
        self._on_bug = on_bug
        self._termination_timeout = termination_timeout
        self._health = health
        self._observe = observe
        self._traces = traces
        self._runs: dict[str, _Run] = {}
        self._bugs: list[Exception] = []

    def start(
        self, assignment: JobAssignment, log_fields: Mapping[str, str], nursery: trio.Nursery
    ) -> None:
        """Begin with the job; the rest of it happens in a task of `nursery`.

        An idle process has been given the job when this returns: a task that had to wake up for
        that would take as long as all the rest. `RunEnded` follows, whatever happens. A bug is kept
        for `raise_bugs`: the caller may be the journal, which must go on.
        """
        job_id = assignment.job_id
        try:
            start = self._start_message(assignment)
            run = _Run(assignment=assignment, log_fields=log_fields, start=start)
            run.process = self._pool.take_idle(lambda process: process.give_now(start))
            nursery.start_soon(self._supervise, run)
        except OptionsError as error:
            text = f"the assignment cannot be used: {error}"
            self._report(RunEnded(job_id, text, EndCause.BAD_ASSIGNMENT))
            return
        except Exception as bug:  # a tracer of the agent's own that raises counts as one
            self.note_bug(bug)
            self._report(RunEnded(job_id, _WORKER_FAILED, EndCause.WORKER_FAILED))
            return
        self._runs[job_id] = run  # from here on its task reports the end
        if run.process is not None:
            try:
                self._note_given(run.process, run)
            except Exception as bug:
                self.note_bug(bug)

    def stop(self, job_id: str, reason: str) -> None:
        """Ask the job to stop; one whose process is gone does not mind."""
        if (run := self._runs.get(job_id)) is not None:
            run.stop(reason)

    def note_bug(self, bug: Exception) -> None:
        """Keep it for `raise_bugs`, and have the worker end in order."""
        self._bugs.append(bug)
        self._on_bug(bug)

    def raise_bugs(self) -> None:
        """Raise what was noted: bugs of this project, in a group."""
        if self._bugs:
            raise ExceptionGroup("supervising a job failed", self._bugs)

    def _start_message(self, assignment: JobAssignment) -> Start:
        job_id, room_id = assignment.job_id, assignment.room_id
        trace = self._traces.begin(job_id, room_id, assignment.metadata or {})
        return Start(job=self._messages.describe_job(assignment).to_dict(), trace=trace)

    def _note_given(self, process: JobProcess, run: _Run) -> None:
        """To be called once the process has been given the job: it does not wait for this."""
        process.bind_job(run.job_id, run.log_fields, [run.start.job["token"]])
        self._receive(ProcessGiven(run.job_id, run.join_timeout))

    async def _supervise(self, run: _Run) -> None:
        # Where the task is cancelled, or has a bug.
        ended = RunEnded(run.job_id, _WORKER_FAILED, EndCause.WORKER_FAILED)
        try:
            ended = await self._run_job(run)
        except Exception as bug:  # raised again by `raise_bugs`, once every job has ended
            self.note_bug(bug)
        finally:
            del self._runs[run.job_id]
            self._report(ended)

    def _report(self, ended: RunEnded) -> None:
        """What fails as the end of one job is handled must not end the tasks of the others."""
        try:
            self._receive(ended)
        except Exception as bug:
            self.note_bug(bug)

    async def _run_job(self, run: _Run) -> RunEnded:
        """Stay with the job until its process has ended. Cancelled, the process still ends."""
        async with AsyncExitStack() as stack:
            if (process := run.process) is not None:
                stack.push_async_callback(self._pool.give_back, process)
            else:
                try:
                    process = await self._acquire(run, stack)
                except JobProcessError as error:
                    return RunEnded(run.job_id, str(error), EndCause.NO_PROCESS)
                if process is None:
                    return RunEnded(run.job_id, "stopped", EndCause.NO_PROCESS)
                process.give_now(run.start)
                run.process = process
                self._note_given(process, run)
            await self._run_on(process, run)
        exit = process.exit
        cause = EndCause.PROCESS_KILLED if exit.killed else EndCause.PROCESS_DIED
        return RunEnded(run.job_id, exit.describe(), cause)

    async def _acquire(self, run: _Run, stack: AsyncExitStack) -> JobProcess | None:
        """Wait for a process; None where the job was stopped meanwhile."""
        process: JobProcess | None = None
        with run.waiting as scope:
            process = await stack.enter_async_context(self._pool.acquire())
        return None if scope.cancel_called else process

    async def _run_on(self, process: JobProcess, run: _Run) -> None:
        has_job = process.was_given_job
        look_at = trio.current_time() + self._health.first_look
        # Until then nothing is to be watched, and what watches would be in the way of the job.
        calm = trio.CancelScope(deadline=look_at)
        if has_job:
            with calm:
                await self._follow(process, run)
        if not has_job or calm.cancelled_caught:
            job = WatchedJob(
                job_id=run.job_id,
                log_fields=run.log_fields,
                receive=self._receive,
                is_over=lambda: self._is_over(run.job_id),
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_health, process, job, self._health, self._observe, look_at)
                if not has_job:
                    await self._send_start(process, run)
                await self._follow(process, run)
                nursery.cancel_scope.cancel()
        with trio.move_on_after(self._termination_timeout):
            await process.exited.wait()
        # What still lives after its last word is not waited for politely a second time.
        process.request_stop("the job has ended")
        await process.exited.wait()

    async def _send_start(self, process: JobProcess, run: _Run) -> None:
        try:
            await process.send(run.start)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the process is gone; its exit says how
        except FrameError as error:
            text = f"the assignment cannot be sent to the job: {error}"
            cause = StopCause(text, is_fault=True, cause=EndCause.BAD_ASSIGNMENT)
            self._receive(FaultFound(run.job_id, cause))

    async def _follow(self, process: JobProcess, run: _Run) -> None:
        """Pass on what the process says, until its last word or its end."""

        def take(frame: Frame) -> bool:
            if isinstance(frame, Joined) and frame.playground:
                show_playground(frame.playground, str(run.start.job.get("token", "")))
            self._receive(ProcessSaid(run.job_id, frame))
            self._pool.answered(process)
            return isinstance(frame, Finished)

        await process.hand_frames_to(take)
