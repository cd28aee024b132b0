"""One job process from its start to its last word, whatever happens meanwhile.

Knows the control channel and the stop ladder. It does not know what a job is, or whether the
process is real: it needs a `Spawner` and trio's clock only.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import trio

from ..control.channel import ControlChannel
from ..control.frames import (
    Finished,
    Frame,
    Hello,
    InitFailed,
    Ping,
    Pong,
    Ready,
    SendableFrame,
    Start,
    Stop,
)
from ..errors import FrameError, JobProcessError, StartFailure
from ..jobs.starting import exit_passes, start_passes
from ..telemetry.logs.loggers import get_logger
from .edge import Command, OnStarted, ProcessHandle, Spawner
from .exit import Exit, with_last_words
from .frame_queue import FrameQueue
from .job_log import JobLog, pump_stderr
from .stop_ladder import DRAIN_SECONDS, Graces, Rung, stop_ladder


class PingTracker:
    """Pings to a process and its answers; one ping at a time."""

    def __init__(self) -> None:
        self.round_trip_seconds: float | None = None
        """Seconds that the last answer took."""
        self._lag_seconds: float | None = None
        self._pings = 0
        self._asked_at = 0.0
        self._answered = trio.Event()

    def ask(self) -> tuple[Ping, trio.Event]:
        """Return the next ping, to be sent now, and the event of its answer."""
        self._pings += 1
        self._asked_at = trio.current_time()
        self._answered = trio.Event()
        return Ping(seq=self._pings), self._answered

    def note(self, pong: Pong) -> None:
        """An answer has come."""
        self._lag_seconds = pong.lag_ms / 1000
        if pong.seq == self._pings:
            self.round_trip_seconds = trio.current_time() - self._asked_at
            self._answered.set()

    @property
    def silent_since(self) -> float | None:
        """When the unanswered ping was sent, on Trio's clock; None if there is none."""
        return self._asked_at if self._pings and not self._answered.is_set() else None

    @property
    def lag_seconds(self) -> float | None:
        """Seconds that the event loop of the process was blocked at worst, by its last answer.

        While an answer is missing, the loop counts as blocked since the ping.
        """
        if (since := self.silent_since) is not None:
            return max(self._lag_seconds or 0.0, trio.current_time() - since)
        return self._lag_seconds


JOB_LOGGER: Final = get_logger("vsdk_trio.job")
STACKS_SECONDS: Final = 2.0
_SURROUNDINGS_CANCELLED: Final = "the worker is stopping"


class JobProcess:
    """A started job process. `run_job_process` makes and owns it."""

    def __init__(self, handle: ProcessHandle, cookie: str, job_log: logging.Logger) -> None:
        self._handle = handle
        self.pid: Final = handle.pid
        """The process id, which is also that of the group."""
        self._log = JobLog(job_log, handle.pid)
        self._channel = ControlChannel(handle.stdin, handle.stdout, on_junk=self._log.junk)
        self._frames = FrameQueue()
        self._job_over = trio.Event()
        self._stop_requested = trio.Event()
        self._stop_reason: str | None = None
        self._rung: Rung | None = None
        self._exit: Exit | None = None
        self.ready: Ready | None = None
        """The runner's `Ready`, once it has come."""
        self.started_at = trio.current_time()
        self.heard_at = self.started_at
        """When it last sent a frame, on Trio's clock."""
        self._pings = PingTracker()
        self.was_given_job = False
        """Whether its start frame was sent, or is being sent. It may then have callbacks to run."""
        self.job_id: str | None = None
        """The job that it was given."""
        self.cookie = cookie
        """The environment marker of the process and its descendants."""
        self.exited = trio.Event()
        """Set when the process is gone, its output read and its pipes closed."""

    @property
    def exit(self) -> Exit:
        """How it ended.

        Raises:
            RuntimeError: `exited` is not set yet.
        """
        if self._exit is None:
            raise RuntimeError("the job process has not exited yet")
        return self._exit

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines it has written to stderr so far."""
        return self._log.tail

    @property
    def dropped_lines(self) -> int:
        """How many lines of stderr came too fast to be logged."""
        return self._log.dropped_lines

    def memory_mb(self) -> float | None:
        """Return the memory of the process in MiB, seen from outside; None if it is unknown."""
        return self._handle.memory_mb()

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of the process in seconds, seen from outside; None if unknown."""
        return self._handle.cpu_seconds()

    def bind_job(
        self, job_id: str, fields: Mapping[str, Any] | None = None, secrets: Iterable[str] = ()
    ) -> None:
        """Log the stderr of the process with the fields of a job from now on.

        Args:
            job_id: The job.
            fields: Further fields of each record.
            secrets: Texts to mask, such as the job's token.
        """
        self.job_id = job_id
        self._log.bind({"job_id": job_id, **(fields or {})}, secrets)

    @property
    def lag_seconds(self) -> float | None:
        """How long its event loop was blocked at worst; see `PingTracker`."""
        return self._pings.lag_seconds

    @property
    def silent_since(self) -> float | None:
        """Since when a ping waits for its answer; see `PingTracker`."""
        return self._pings.silent_since

    async def ping(self) -> trio.Event:
        """Send a ping, and return the event of its answer. Raises and is cancelled as `send`."""
        ping, answered = self._pings.ask()
        await self.send(ping)
        return answered

    def kill(self) -> None:
        """Kill it and its group at once."""
        self._handle.signal_group(signal.SIGKILL)

    async def stacks(self) -> str:
        """Return the stacks of all threads of the process, also if all of them are blocked.

        A signal asks for them, which needs no event loop. The result is "" if there is no such
        signal, if the process runs on another machine, or if it takes longer than `STACKS_SECONDS`.
        """
        ready, handle = self.ready, self._handle
        # Behind a launcher the signal would reach the launcher, and not the process it has started.
        if ready is None or not ready.stack_signal or ready.pid != handle.pid:
            return ""
        send, receive = trio.open_memory_channel[str](1)
        with self._log.stacks_for(send.send_nowait), trio.move_on_after(STACKS_SECONDS):
            if handle.ask_for_stacks(ready.stack_signal):
                return await receive.receive()
        return ""

    def give_now(self, start: Start) -> None:
        """Send the job if that takes no waiting; if `was_given_job` is then false, use `send`."""
        self.was_given_job = self._channel.send_now(start)

    async def send(self, frame: SendableFrame) -> None:
        """Send one frame; see `ControlChannel.send` for cancellation.

        Raises:
            FrameError: The frame cannot be encoded.
            trio.BrokenResourceError: The process cannot receive any more: it is gone or being
                stopped, or an earlier send was interrupted.
        """
        if isinstance(frame, Start):
            self.was_given_job = True
        try:
            await self._channel.send(frame)
        except trio.ClosedResourceError as error:
            # The owner has closed the pipe. For the caller that is no mistake.
            raise trio.BrokenResourceError("the job process cannot hear any more") from error

    def frames(self) -> AsyncIterator[Frame]:
        """Iterate over the incoming frames, in one task; may be left and resumed.

        It ends when the process is gone, after everything that the process has sent.
        """
        return self._frames

    async def hand_frames_to(self, handler: Callable[[Frame], bool]) -> None:
        """Call `handler` with each incoming frame in the step that reads it.

        It may be cancelled and called again. See `FrameQueue.hand_to`.
        """
        await self._frames.hand_to(handler)

    def request_stop(self, reason: str) -> None:
        """Request that the owner takes the process down the stop ladder. Returns at once.

        A process without a job, or whose job has finished, has no callbacks to wait for, and gets
        the shorter grace from the start. A second request changes nothing.

        Args:
            reason: For the job's shutdown callbacks.
        """
        if not self._stop_requested.is_set():
            self._stop_reason = reason
            self._stop_requested.set()

    # The rest is for the owner, below.

    async def _read_frames(self) -> None:
        async for frame in self._channel:
            self.heard_at = trio.current_time()
            if isinstance(frame, Ready):
                self.ready = frame
            elif isinstance(frame, Finished):
                self._job_over.set()
            elif isinstance(frame, Pong):
                self._pings.note(frame)
            await self._frames.put(frame)

    def _note_rung(self, rung: Rung) -> None:
        self._rung = rung

    def _close(self) -> None:
        returncode = self._handle.returncode
        assert returncode is not None, "a spawner returns when the process is gone"
        self._handle.close()
        self._frames.close()
        self._exit = Exit(
            returncode=returncode,
            # A request that came when the process was already on its way out did not cause it.
            stop_reason=self._stop_reason if self._rung is not None else None,
            rung=self._rung,
            stderr_tail=self._log.tail,
        )
        self.exited.set()


async def run_job_process(
    spawner: Spawner,
    command: Command,
    *,
    graces: Graces,
    job_log: logging.Logger = JOB_LOGGER,
    task_status: trio.TaskStatus[JobProcess] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Own one job process: start it, read its output, stop it on request, leave nothing behind.

    Returns when the process is gone, its output is read to the end and its pipes are closed. It
    stops the process by the stop ladder after `JobProcess.request_stop`. Cancelled, it does the
    same, and raises `Cancelled` once the process is gone.

    Args:
        spawner: Starts the process.
        command: The program to start.
        graces: The waits of the stop ladder.
        job_log: The logger for its stderr.
        task_status: Gets the `JobProcess` once it is started.

    Raises:
        JobProcessError: The process cannot be started.
    """
    owner = _Owner(command, graces, job_log, task_status)
    try:
        await owner.run(spawner)
    finally:
        if owner.process is not None:
            owner.process._close()
    if owner.failure is not None:
        raise JobProcessError(
            f"cannot start a job process ({command.argv[0]}): {owner.failure}",
            passes=start_passes(owner.failure),
        ) from owner.failure


class _Owner:
    """The tasks around one process. The readers outlive everything, the process included."""

    def __init__(
        self,
        command: Command,
        graces: Graces,
        job_log: logging.Logger,
        task_status: trio.TaskStatus[JobProcess],
    ) -> None:
        self._command = command
        self._graces = graces
        self._job_log = job_log
        self._task_status = task_status
        self._gone = trio.Event()
        self.process: JobProcess | None = None
        self.failure: OSError | None = None

    async def run(self, spawner: Spawner) -> None:
        # Shielded, because the last frames come while everything around is being cancelled; the
        # deadline is set as soon as the process is gone.
        draining = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            running = trio.CancelScope()

            def adopt(handle: ProcessHandle) -> None:
                process = JobProcess(handle, self._command.cookie, self._job_log)
                self.process = process
                nursery.start_soon(self._drain, process, draining)
                nursery.start_soon(self._cancel_on_request, process, running)
                self._task_status.started(process)

            try:
                with running:
                    await spawner.run(
                        self._command,
                        deliver_cancel=self._climb_down,
                        task_status=OnStarted(adopt),
                    )
            except OSError as error:
                self.failure = error
            finally:
                self._gone.set()
                draining.deadline = trio.current_time() + DRAIN_SECONDS
                nursery.cancel_scope.cancel()

    async def _climb_down(self, handle: ProcessHandle) -> None:
        process = self.process
        assert process is not None, "a spawner delivers a cancellation after started()"
        if not process.was_given_job:
            process._job_over.set()
        if process._stop_reason is None:
            process.request_stop(_SURROUNDINGS_CANCELLED)
        await stop_ladder(
            handle,
            partial(process._channel.send, Stop(reason=process._stop_reason or "")),
            self._graces,
            job_over=process._job_over,
            on_rung=process._note_rung,
        )

    async def _cancel_on_request(self, process: JobProcess, running: trio.CancelScope) -> None:
        await process._stop_requested.wait()
        running.cancel()

    async def _drain(self, process: JobProcess, draining: trio.CancelScope) -> None:
        with draining:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump_stderr, process._handle.stderr, process._log)
                nursery.start_soon(self._lift_bound_at_exit, process)
                await process._read_frames()
                # A process that closes its stdout may live on; it is only its exit that counts.
                await self._gone.wait()
                process._frames.close()

    async def _lift_bound_at_exit(self, process: JobProcess) -> None:
        await self._gone.wait()
        process._frames.lift_bound()


async def bring_up(process: JobProcess, hello: Hello, timeout: float) -> Ready:
    """Send `hello` and wait for `Ready`. It does not stop the process.

    Args:
        process: A process that was just started.
        hello: Its first frame.
        timeout: Seconds until it must be ready.

    Raises:
        JobProcessError: The process fails to initialize, ends, or is too late. The text names the
            cause and the last lines of stderr.
    """
    with trio.move_on_after(timeout):
        try:
            await process.send(hello)
        except FrameError as error:
            text = f"cannot tell a job process what to do: {error}"
            raise JobProcessError(text, StartFailure.INIT_FAILED) from None
        except trio.BrokenResourceError:
            pass  # It is dead, and its exit below says why.
        async for frame in process.frames():
            if isinstance(frame, Ready) and not process.exited.is_set():
                return frame
            if isinstance(frame, InitFailed):
                cause = f"a job process failed to initialize: {frame.error}"
                text = with_last_words(cause, process.stderr_tail)
                raise JobProcessError(
                    text, StartFailure.INIT_FAILED, passes=frame.passes, summary=cause
                )
        await process.exited.wait()
        end = process.exit
        raise JobProcessError(
            end.describe(),
            StartFailure.DIED,
            passes=exit_passes(end.returncode, end.stderr_tail),
            summary=end.summarize(),
        )
    cause = f"a job process was not ready within {timeout:g} s"
    text = with_last_words(cause, process.stderr_tail)
    raise JobProcessError(text, StartFailure.TOO_LATE, passes=True, summary=cause)
