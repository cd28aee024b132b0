"""A job that waits for a job process: a mailbox that gets exactly one letter.

Knows neither how processes come to be nor what the job is.
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
    """What every job process of a pool has in common."""

    argv: tuple[str, ...]
    """How to start one: launcher prefix, interpreter, runner."""
    cookie_prefix: str
    """What their cookies start with; the guardian's must be the same."""
    initialize_timeout: float
    """Seconds from the start of a process to its `Ready`."""
    env_extra: dict[str, str] = attrs.field(factory=dict)


class ProcessState(StrEnum):
    """What a process of a pool is there for."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"  # given to a job
    STOPPING = "stopping"


def _note_nothing(process_or_ready: object) -> None:
    """By default nobody wants to know what a process says of itself, or that it is taken."""


def _too_early(number: int) -> None:
    raise RuntimeError(f"process {number} is wanted of a pool that is not open")


class Pool:
    """Hands out ready job processes; keeps some idle, as `prewarm` decides.

    Arguments: `make_hello(cookie)`, the first frame for a new process; `graces`, of the stop
    ladder; `guardian` and `sweeper`, None where there are no real processes to guard or sweep;
    `observe`, told of what becomes of each process.
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
        """Whether processes come up."""
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
        """Processes that were given to a job and are not gone yet."""
        return len(self._given)

    def processes(self) -> Iterator[tuple[JobProcess, ProcessState]]:
        """Every process that lives, and what it is there for at the moment."""
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
        """Let no job have a process that was started before this; running jobs are left alone.

        What is idle is stopped now, what is starting once it is ready; others take their places.
        """
        self._outdated = self._number
        while self._idle:
            self._idle.popleft().request_stop("it is outdated")
        self._prewarm.renewed()
        self._to_look.expire()

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[JobProcess]:
        """A ready process for one job: an idle one, or a new one.

        Raises `JobProcessError` where the new one cannot be started, fails to initialize or is not
        ready within `initialize_timeout`; the text names the cause and its last words. When the
        body ends, however it ends, the process is given back.
        """
        process = await self._take()
        try:
            yield process
        finally:
            await self.give_back(process)

    def take_idle(self, give: Callable[[JobProcess], object] = _note_nothing) -> JobProcess | None:
        """As `acquire`, where a process is idle: there is nothing to wait for.

        `give(process)` is called before anything is noted of it: its job is waiting. Whoever gets
        one must `give_back` it, whatever happens.
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
        """The registry is being told that the job of `process` runs: a refill may begin soon."""
        if self._prewarm.answered(process.pid, now=trio.current_time()):
            self._to_look.expire_at(self._prewarm.refill_at)

    async def give_back(self, process: JobProcess) -> None:
        """Have a process stopped that is no longer needed, if it still runs; wait for its end.

        Cancellation does not cut that short: the stop ladder has an end of its own.
        """
        self.answered(process)
        process.request_stop("the job is over")
        with trio.move_on_after(self._graces.total_seconds, shield=True):
            await process.exited.wait()
        self._given.discard(process)
        self._to_look.expire()

    async def first_up(self) -> None:
        """Have a process come up, whatever is to be kept idle; returns once one has.

        Raises `JobProcessError` where none ever will.
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
        """Service body: own all job processes until `stopping`, then stop what is left of them."""
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
        # One that is on its way out counts: it takes up what a process takes up until it is gone.
        # Counted without a look at each: this is asked several times for every job.
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
                    # A forkserver may have to load its template first; nobody waits for that when
                    # the pool closes.
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
        """Bring the process up and give it away."""
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
        if was_in_trouble:  # else there is no news in it, and a job may be waiting
            self.starts_change.notify()

    def _start_failed(self, number: int, error: JobProcessError) -> None:
        self._starting.discard(number)
        self._to_look.expire()
        if not self._open or number <= self._outdated:
            return  # nobody waits for it; or another will serve whoever does
        self._observe(seen.ProcessFailed(cause=error.cause))
        self._prewarm.failed(now=trio.current_time())
        self.starts.failed(error)
        self.starts_change.notify()
        # Another start may still serve the job that waits. If the one that was made for it has
        # failed, it must know; for a job that came later, another one is made.
        if len(self._requests) > len(self._starting) and self._requests[0].since < number:
            self._requests.popleft().resolve(error)
        else:
            # What it has printed, its traceback too, was logged as it came.
            logger.warning("no idle job process: %s", error.summary)

    def _take_off_the_books(self, number: int) -> None:
        """The process is gone, or never was."""
        self._to_look.expire()
        process = self._alive.pop(number, None)
        if process is None:
            self._starting.discard(number)
            return
        # One that was still starting is crossed out by `_attend`, together with the answer to the
        # job that waits for it; otherwise another would be started for that job meanwhile.
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
            await trio.lowlevel.checkpoint()  # cancelled together with the pool, say so
            raise JobProcessError("the pool is closed", StartFailure.CLOSED)
        if (process := self.take_idle()) is not None:
            # No checkpoint: the job's first frame leaves before a refill competes with it.
            return process
        request = ProcessRequest(self._number)
        self._requests.append(request)
        self._start_wanted()  # here, and not when the loop comes round: the job waits
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
        """Give a ready process to the job that has waited longest, or keep it, or let it go."""
        if process.exited.is_set():
            pass
        elif self._requests:
            self._note_given(process)
            self._requests.popleft().resolve(process)
            if not self._requests:
                return  # what is to be looked at now is a refill, and its moment is set
        elif self._open and self._prewarm.wants_to_keep(self._census()):
            self._idle.append(process)
        else:
            process.request_stop("not needed")
        self._to_look.expire()
