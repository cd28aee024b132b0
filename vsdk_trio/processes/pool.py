"""The pool: job processes that are ready before their job comes, one job for each.

It owns every job process of a worker, idle or not, as a service that outlives the jobs. It brings
processes up to `Ready` and gives them to jobs. It does not know what a job is, or how a process is
started.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

import attrs
import trio

from .._service import Notifier, ResettableDeadline, first_of
from ..control.frames import Hello, Ready
from ..errors import JobProcessError, StartFailure
from ..jobs.prewarm import Census, Prewarm
from ..jobs.starting import Starts
from ..telemetry import events as seen
from ..telemetry.logs.loggers import get_logger
from .edge import Command, OnStarted, Spawner
from .guardian import Guardian
from .job_process import JOB_LOGGER, JobProcess, bring_up, run_job_process
from .orphans import Sweeper
from .stop_ladder import Graces


class ProcessRequest:
    """A job that waits for a job process. It gets exactly one result.

    The result is set synchronously, so nothing can happen between a decision and its effect.

    Args:
        since: The number of the newest start when the job began to wait. If that start or an
            earlier one fails, this job did not ask for it.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self._send, self._receive = trio.open_memory_channel[JobProcess | JobProcessError](1)

    def resolve(self, result: JobProcess | JobProcessError) -> None:
        """Set the result, once."""
        self._send.send_nowait(result)

    async def wait(self) -> JobProcess | JobProcessError:
        """Wait for the result. Cancelled, the result stays to be taken by `untaken`."""
        return await self._receive.receive()

    def untaken(self) -> JobProcess | None:
        """Return the process that came, but was not taken before the wait was cancelled.

        Only for a request that was resolved.
        """
        result = self._receive.receive_nowait()
        return result if isinstance(result, JobProcess) else None


logger: Final = get_logger("vsdk_trio.pool")


@attrs.frozen(kw_only=True)
class PoolSettings:
    """The settings of all job processes of a pool."""

    argv: tuple[str, ...]
    """How to start one: launcher prefix, interpreter, runner."""
    cookie_prefix: str
    """The beginning of their cookies; the guardian must have the same."""
    initialize_timeout: float
    """Seconds from the start of a process to its `Ready`."""
    env_extra: dict[str, str] = attrs.field(factory=dict)


class ProcessState(StrEnum):
    """The state of a process of the pool."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"  # given to a job
    STOPPING = "stopping"


def _note_nothing(process_or_ready: object) -> None:
    """Do nothing: the default for optional callbacks."""


def _too_early(number: int) -> None:
    raise RuntimeError(f"process {number} is wanted of a pool that is not open")


class Pool:
    """Hands out ready job processes; keeps some idle, as `prewarm` decides.

    Args:
        spawner: Starts processes.
        make_hello: Called with the cookie of a new process; returns its first frame.
        settings: The settings of all processes.
        prewarm: Decides how many processes to start.
        graces: The waits of the stop ladder.
        guardian: Ends the processes if the worker dies; None for simulated processes.
        sweeper: Kills what processes leave behind; None for simulated processes.
        on_ready: Called with the `Ready` frame of each process.
        job_log: The logger for the stderr of jobs.
        observe: Called with each event of a process.
    """

    def __init__(
        self,
        spawner: Spawner,
        make_hello: Callable[[str], Hello],
        settings: PoolSettings,
        prewarm: Prewarm,
        *,
        graces: Graces,
        guardian: Guardian | None = None,
        sweeper: Sweeper | None = None,
        on_ready: Callable[[Ready], None] = _note_nothing,
        job_log: logging.Logger = JOB_LOGGER,
        observe: seen.Observe = seen.unobserved,
    ) -> None:
        self.starts = Starts()
        """Counts starts: whether processes come up."""
        self.starts_change = Notifier()
        """Notified when a start has failed, or has succeeded at last."""
        self._observe = observe
        self._spawner = spawner
        self._make_hello = make_hello
        self._settings = settings
        self._prewarm = prewarm
        self._graces = graces
        self._guardian = guardian
        self._sweeper = sweeper
        self._on_ready = on_ready
        self._job_log = job_log
        self._idle: deque[JobProcess] = deque()
        self._requests: deque[ProcessRequest] = deque()
        self._alive: dict[int, JobProcess] = {}
        self._given: set[JobProcess] = set()
        self._starting: set[int] = set()
        self._coming: dict[int, trio.CancelScope] = {}
        self._number = 0
        self._outdated = 0  # up to this number
        self._open = False
        self._to_look = ResettableDeadline()
        self._begin: Callable[[int], None] = _too_early

    @property
    def idle(self) -> int:
        """Processes that are ready for a job."""
        return len(self._idle)

    @property
    def starting(self) -> int:
        """Processes that are not ready yet."""
        return len(self._starting)

    @property
    def running(self) -> int:
        """How many processes have a job and are not gone yet."""
        return len(self._given)

    def processes(self) -> Iterator[tuple[JobProcess, ProcessState]]:
        """Iterate over all living processes and their states."""
        for number, process in self._alive.items():
            if number in self._starting:
                yield process, ProcessState.STARTING
            elif process in self._idle:
                yield process, ProcessState.IDLE
            elif process in self._given:
                yield process, ProcessState.BUSY
            else:
                yield process, ProcessState.STOPPING

    def renew(self) -> None:
        """Give no job a process that was started before this call. Running jobs go on.

        Idle processes are stopped now, and starting ones when they are ready. New ones replace
        them.
        """
        self._outdated = self._number
        while self._idle:
            self._idle.popleft().request_stop("it is outdated")
        self._prewarm.renewed()
        self._to_look.expire()

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[JobProcess]:
        """Take a ready process for one job, idle or new; give it back at the end of the body.

        Raises:
            JobProcessError: A new process cannot be started, fails to initialize, or is not ready
                within `initialize_timeout`. The text names the cause and the last lines of stderr.
        """
        process = await self._take()
        try:
            yield process
        finally:
            await self.give_back(process)

    def take_idle(self, give: Callable[[JobProcess], object] = _note_nothing) -> JobProcess | None:
        """Take an idle process without waiting; None if there is none.

        The caller must `give_back` the process, whatever happens.

        Args:
            give: Called with the process before anything else is done, because its job is waiting.
        """
        if not (self._open and self._idle):
            return None
        process = self._idle.popleft()
        give(process)
        self._note_given(process)
        self._observe(seen.ProcessGiven(pid=process.pid, is_warm=True))
        return process

    def _note_given(self, process: JobProcess) -> None:
        self._given.add(process)
        self._prewarm.taken(process.pid, now=trio.current_time())
        self._to_look.expire_at(self._prewarm.refill_at)

    def answered(self, process: JobProcess) -> None:
        """Allow a refill soon: the worker is reporting that the job of `process` runs."""
        if self._prewarm.answered(process.pid, now=trio.current_time()):
            self._to_look.expire_at(self._prewarm.refill_at)

    async def give_back(self, process: JobProcess) -> None:
        """Stop a process that is no longer needed, and wait for its end.

        Cancellation does not shorten this: the stop ladder has a deadline of its own.
        """
        self.answered(process)
        process.request_stop("the job is over")
        with trio.move_on_after(self._graces.total_seconds, shield=True):
            await process.exited.wait()
        self._given.discard(process)
        self._to_look.expire()

    async def first_up(self) -> None:
        """Start a process, even if none is kept idle, and return once one is ready.

        Raises:
            JobProcessError: No process will ever come up.
        """
        self.starts.doubt()
        self._to_look.expire()
        while not self.starts.is_proven:
            if (error := self.starts.hopeless) is not None:
                raise error
            await self.starts_change.wait()

    async def run(
        self,
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[Pool] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Own all job processes until `stopping`, then stop them; a service body."""
        async with trio.open_nursery() as nursery:

            def begin(number: int) -> None:
                nursery.start_soon(self._run_process, number)

            self._begin = begin
            self._open = True
            task_status.started(self)
            try:
                await first_of(self._keep_filled, stopping.wait)
            finally:
                self._close()

    async def _keep_filled(self) -> None:
        while True:
            self._start_wanted()
            if (moment := self._prewarm.refill_at) > trio.current_time():
                self._to_look.expire_at(moment)
            await self._to_look.wait()

    def _start_wanted(self) -> None:
        wanted = self._prewarm.to_start(
            self._census(), now=trio.current_time(), probe=self.starts.wants_probe
        )
        for _ in range(wanted):
            self._number += 1
            self._starting.add(self._number)
            self._begin(self._number)

    def _close(self) -> None:
        self._open = False
        while self._requests:
            error = JobProcessError("the pool is closed", StartFailure.CLOSED)
            self._requests.popleft().resolve(error)
        for process in self._alive.values():
            process.request_stop("the worker is stopping")
        for coming in self._coming.values():
            coming.cancel()

    def _census(self) -> Census:
        # A process that is being stopped counts until it is gone: it still uses memory. The count
        # does not look at each process, because it is made several times for every job.
        present = len(self._alive) + sum(number not in self._alive for number in self._starting)
        return Census(
            idle=self.idle,
            starting=self.starting,
            running=present - self.idle - self.starting,
            waiting=len(self._requests),
        )

    # One process, from before its start to after its end.

    async def _run_process(self, number: int) -> None:
        settings = self._settings
        cookie = f"{settings.cookie_prefix}.{number}"
        command = Command(argv=settings.argv, cookie=cookie, env_extra=settings.env_extra)
        async with trio.open_nursery() as nursery:

            def adopt(process: JobProcess) -> None:
                self._alive[number] = process
                self._observe(seen.ProcessStarted(pid=process.pid))
                self._coming.pop(number, None)
                if self._guardian is not None:
                    self._guardian.watch(process.pid)
                if not self._open:
                    process.request_stop("the worker is stopping")
                nursery.start_soon(self._attend, process, number)

            try:
                if self._open:
                    # A forkserver may have to load its template first. A closing pool does not wait
                    # for that.
                    with trio.CancelScope() as self._coming[number]:
                        await run_job_process(
                            self._spawner,
                            command,
                            graces=self._graces,
                            job_log=self._job_log,
                            task_status=OnStarted(adopt),
                        )
            except JobProcessError as error:
                self._start_failed(number, error)
            finally:
                self._coming.pop(number, None)
                self._take_off_the_books(number)
                if self._sweeper is not None:
                    self._sweeper.sweep(cookie)

    async def _attend(self, process: JobProcess, number: int) -> None:
        """Bring the process up, and give it to a job or keep it."""
        hello = self._make_hello(process.cookie)
        started_at = trio.current_time()
        try:
            ready = await bring_up(process, hello, self._settings.initialize_timeout)
        except JobProcessError as error:
            process.request_stop("it could not be made ready")
            self._start_failed(number, error)
        else:
            self._starting.discard(number)
            self._prewarm.became_ready()
            self._note_success()
            self._on_ready(ready)
            took = trio.current_time() - started_at
            self._observe(seen.ProcessReady(pid=process.pid, seconds=took))
            if number <= self._outdated:
                process.request_stop("it is outdated")
                self._to_look.expire()
            else:
                self._offer(process)
        finally:
            self._starting.discard(number)  # for where it was cancelled

    def _note_success(self) -> None:
        was_in_trouble = self.starts.trouble is not None
        self.starts.succeeded()
        if was_in_trouble:  # else nothing has changed
            self.starts_change.notify()

    def _start_failed(self, number: int, error: JobProcessError) -> None:
        self._starting.discard(number)
        self._to_look.expire()
        if not self._open or number <= self._outdated:
            return  # no job waits for it, or another process will serve the job
        self._observe(seen.ProcessFailed(cause=error.cause))
        self._prewarm.failed(now=trio.current_time())
        self.starts.failed(error)
        self.starts_change.notify()
        # Another start may still serve the waiting job. If the start that was made for it has
        # failed, the job fails, too. For a job that came later, another start follows.
        if len(self._requests) > len(self._starting) and self._requests[0].since < number:
            self._requests.popleft().resolve(error)
        else:
            # Its output, with its traceback, is in the log already.
            logger.warning("no idle job process: %s", error.summary)

    def _take_off_the_books(self, number: int) -> None:
        """Forget a process that is gone, or that could not be started."""
        self._to_look.expire()
        process = self._alive.pop(number, None)
        if process is None:
            self._starting.discard(number)
            return
        # `_attend` forgets a process that was still starting, together with the result for the job
        # that waits for it. Otherwise another one would be started for that job meanwhile.
        if self._guardian is not None:
            self._guardian.forget(process.pid)
        self._given.discard(process)
        was_idle = self._open and process in self._idle
        how = process.exit.kind
        self._observe(seen.ProcessEnded(pid=process.pid, how=how, was_idle=was_idle))
        if process in self._idle:
            self._idle.remove(process)
            if was_idle:
                self._prewarm.failed(now=trio.current_time())
                logger.warning("an idle job process died: %s", process.exit.describe())

    # Giving processes to jobs. Nothing here awaits, but for the waiting itself.

    async def _take(self) -> JobProcess:
        if not self._open:
            await trio.lowlevel.checkpoint()  # raises a cancellation that came with the closing
            raise JobProcessError("the pool is closed", StartFailure.CLOSED)
        if (process := self.take_idle()) is not None:
            # No checkpoint: the job's first frame leaves before a refill competes with it.
            return process
        request = ProcessRequest(self._number)
        self._requests.append(request)
        self._start_wanted()  # now, and not in the pool's task: the job waits
        try:
            result = await request.wait()
        except trio.Cancelled:
            if request in self._requests:
                self._requests.remove(request)
            elif (untaken := request.untaken()) is not None:
                self._given.discard(untaken)
                self.answered(untaken)
                self._offer(untaken)
            raise
        if isinstance(result, JobProcessError):
            raise result
        self._observe(seen.ProcessGiven(pid=result.pid, is_warm=False))
        return result

    def _offer(self, process: JobProcess) -> None:
        """Give a ready process to the job that has waited longest, or keep it, or stop it."""
        if process.exited.is_set():
            pass
        elif self._requests:
            self._note_given(process)
            self._requests.popleft().resolve(process)
            if not self._requests:
                return  # only a refill may be due, and its deadline is set
        elif self._open and self._prewarm.wants_to_keep(self._census()):
            self._idle.append(process)
        else:
            process.request_stop("not needed")
        self._to_look.expire()
