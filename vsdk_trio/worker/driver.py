"""Performs what the engine decides, and brings it the news: the one place where a worker acts.

`receive` passes an event to the engine and performs the actions at once, in their order, without
waiting. What takes time (the disk, a process, the user's `request_fnc`) comes back as an event.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import Final, assert_never

import trio

from .._service import Notifier, ResettableDeadline
from ..backend.events import BackendEvent, SessionLost
from ..errors import JobProcessError, PreflightError
from ..jobs.starting import PREFLIGHT_SECONDS
from ..journal.journal import DISK_TIMEOUT_SECONDS, Journal
from ..journal.records import Record
from ..options.worker import Options
from ..processes.guardian import Guardian
from ..processes.orphans import Sweeper
from ..processes.stop_ladder import Graces
from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerPong,
)
from ..protocol.session import Registered
from ..status.view import Health
from ..system.shortages import SHORTAGES
from ..system.stopping import Request, Stage
from ..telemetry.events import Observation, Observers, StatusReported
from ..telemetry.logs.loggers import get_logger
from ..telemetry.traces.worker_traces import Traces
from .actions import (
    Action,
    AskRequestFnc,
    Changed,
    Conditions,
    Decided,
    Delivered,
    DrainAsked,
    Emit,
    Event,
    Log,
    Note,
    Offered,
    Persist,
    Persisted,
    PromisesRevoked,
    Recovered,
    Send,
    SendStatus,
    Serving,
    SessionOpened,
    StartJob,
    StopAsked,
    StopJob,
    TroubleChanged,
)
from .components import (
    engine_settings,
    health_rules,
    make_connection,
    make_forkserver,
    make_pool,
)
from .engine import WorkerEngine
from .environment import WorkerEnvironment
from .recovery import Recovery
from .shutdown import Shutdown
from .start_message import Agent, StartMessages
from .supervision import JobSupervisor
from .user_functions import LoadGauge, ask_request_fnc

logger = get_logger(__name__)

_NOT_REGISTERED: Final = "not registered, because no job could be run: "

# How long the ends of the last jobs may take to be written; a journal is given up before that.
_WRITE_SECONDS: Final = 2 * DISK_TIMEOUT_SECONDS

_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class WorkerDriver:
    """One life of a worker: its engine, and the components that it acts through.

    Made anew for every run, so that nothing has a state from before. `Worker` runs its services in
    their order.
    """

    def __init__(
        self,
        options: Options,
        agent: Agent,
        environment: WorkerEnvironment,
        journal: Journal,
        observers: Observers[Observation],
        traces: Traces,
    ) -> None:
        self._options = options
        self.observers = observers
        """Receive everything that an operator counts; see `telemetry.events`."""
        self.journal = journal
        self.recovery = Recovery(journal.contents)
        self.failures: list[Exception] = []
        """Why the worker ends, where that is an error and it still had jobs to see to."""
        self.shutdown = Shutdown(observers)
        self.change = Notifier()
        self.graces = Graces(
            close_timeout=options.close_timeout,
            termination_timeout=options.termination_timeout,
            hurry=self.shutdown.reached(Stage.HURRYING),
        )
        self._gauge = LoadGauge(options.load_fnc)
        self.engine = WorkerEngine(
            engine_settings(options),
            ended=self.recovery.remembered,
            worker_id=journal.contents.worker_id,
        )
        self._can_run_jobs = trio.Event()
        self.is_registered = trio.Event()
        """Set with the first session."""
        self.connection = make_connection(
            options,
            environment,
            worker_id=journal.contents.worker_id,
            announce=lambda: self.engine.announcement(self.conditions()),
            give_up=self._give_up,
            on_acknowledged=lambda message: self.receive(Delivered(message)),
            observe=observers,
            hold=self._can_run_jobs.wait,
        )
        # Random, so that no foreign process can carry it.
        self.cookie_prefix = f"vsdk-{environment.rng.getrandbits(64):016x}"
        # A job whose worker died has as long to stop as one that is asked to.
        self.guardian = (
            Guardian(options.close_timeout, self.cookie_prefix) if environment.is_real else None
        )
        self.sweeper = Sweeper() if environment.is_real else None
        messages = StartMessages(
            options,
            agent,
            worker_id=lambda: self.connection.worker_id,
            token=lambda: self.connection.token,
            traces=traces.are_on,
        )
        self.forkserver = make_forkserver(
            options,
            agent,
            environment,
            cookie_prefix=self.cookie_prefix,
            guardian=self.guardian,
        )
        self.pool = make_pool(
            options,
            environment,
            forkserver=self.forkserver,
            guardian=self.guardian,
            sweeper=self.sweeper,
            make_hello=messages.hello,
            on_ready=messages.check_what_arrives,
            cookie_prefix=self.cookie_prefix,
            graces=self.graces,
            observe=observers,
        )
        self._supervisor = JobSupervisor(
            pool=self.pool,
            messages=messages,
            receive=self.receive,
            is_over=self.engine.is_over,
            on_bug=self._end_for_a_bug,
            termination_timeout=options.termination_timeout,
            health=health_rules(options),
            observe=observers,
            traces=traces,
        )
        self._is_open = trio.Event()
        self._due = ResettableDeadline()
        self._decided: deque[Action] = deque()
        self._is_performing = False
        # Their services run around everything that needs them.
        self._asking: trio.Nursery | None = None
        self._running: trio.Nursery | None = None

    # -- events in, actions out --------------------------------------------------------------------

    def receive(self, event: Event) -> None:
        """Pass the event to the engine, and perform what it decides. Never waits."""
        self._perform(self.engine.receive(event, trio.current_time()))

    def conditions(self) -> Conditions:
        """What the engine has to know of the world just now."""
        return Conditions(
            worker_id=self.connection.worker_id, load=self._gauge.measure(), trouble=self.trouble()
        )

    def _perform(self, actions: list[Action]) -> None:
        decided = self._decided
        decided += actions
        if self._is_performing:
            return  # it comes after what was decided before
        self._is_performing = True
        try:
            while decided:
                self._perform_one(decided.popleft())
        finally:
            self._is_performing = False
        if (deadline := self.engine.next_deadline()) is not None:
            self._due.expire_at(deadline)

    def _perform_one(self, action: Action) -> None:
        match action:
            case StartJob(assignment):
                assert self._running is not None, "admission is closed while no job can run"
                fields = self._log_fields(assignment.job_id, assignment.room_id)
                self._supervisor.start(assignment, fields, self._running)
            case Persist(record):
                self._persist(record)
            case Send(message, epoch):
                self.connection.post(message, epoch=epoch)
            case Emit(observation):
                self.observers(observation)
            case Log(level, text, job_id, room_id):
                extra = self._log_fields(job_id, room_id) if job_id else None
                logger.log(_LEVELS[level], "%s", text, extra=extra)
            case SendStatus():
                status = self.engine.status(self.conditions())
                self.observers(StatusReported(load=status.load or 0.0))
                self.connection.post(status)
            case Note(record):
                self.journal.note(record)
            case AskRequestFnc(request):
                assert self._asking is not None, "offers come while they can be answered"
                self._asking.start_soon(self._ask, request)
            case StopJob(job_id, reason):
                self._supervisor.stop(job_id, reason)
            case Changed():
                self.change.notify()
            case _:
                assert_never(action)

    def _persist(self, record: Record) -> None:
        self.journal.write(record).then(partial(self._written, record))

    def _written(self, record: Record) -> None:
        """The journal calls this, and must go on writing, whatever follows from it."""
        try:
            self.receive(Persisted(record))
        except Exception as bug:
            self._supervisor.note_bug(bug)

    def _log_fields(self, job_id: str, room_id: str | None) -> dict[str, str]:
        fields = {"job_id": job_id, "agent_id": self._options.agent_id}
        if room_id is not None:
            fields["room_id"] = room_id
        return fields

    # -- services ----------------------------------------------------------------------------------

    async def answer(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Service body: answer the registry, once `open` was called."""
        async with trio.open_nursery() as nursery:
            self._asking = nursery
            nursery.start_soon(self.hand_events)
            task_status.started()
            await stopping.wait()
            nursery.cancel_scope.cancel()

    async def hand_events(self) -> None:
        """Receive the events of the connection, once opened, until it has ended, or cancelled."""
        await self._is_open.wait()
        await self.connection.hand_events_to(self._take)

    def open(self) -> None:
        """From now on the registry's events are handled: jobs can be run, or nothing is taken."""
        self._is_open.set()

    async def keep_books(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Service body: let promises, jobs and the status interval run out; notice trouble."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keep_time)
            nursery.start_soon(self.watch_starts)
            task_status.started()
            await stopping.wait()
            nursery.cancel_scope.cancel()

    async def keep_time(self) -> None:
        """Tick at each deadline of the engine, until cancelled."""
        self.receive(Serving())
        while True:
            await self._due.wait()
            self._perform(self.engine.tick(trio.current_time()))

    async def watch_starts(self) -> None:
        """Notice when jobs cannot be run any more, or can be run again; until cancelled."""
        trouble = self.trouble()
        while True:
            await self.pool.starts_change.wait()
            if (now := self.trouble()) != trouble:
                trouble = now
                self.receive(TroubleChanged(now))

    async def run_jobs(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Service body: run what is accepted; at `stopping`, stop all of it and wait for its end.

        A task of a job raises only for a bug of this project. The other jobs are no part of it:
        they end in order before it comes out.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._running = nursery
                task_status.started()
                try:
                    await stopping.wait()
                finally:
                    # Nothing may be started in a nursery that ends.
                    self.receive(PromisesRevoked(self.shutdown.reason))
                    self.receive(StopAsked())
        finally:
            # What ended last is on its way to the disk, and is sent when it is there.
            with trio.move_on_after(_WRITE_SECONDS, shield=True):
                while self.engine.job_count:
                    await self.change.wait()
        self._supervisor.raise_bugs()

    # -- the beginning and the end of the worker ---------------------------------------------------

    def recovered(self) -> None:
        """Send how jobs ended that this worker had in an earlier life."""
        ends, interrupted = self.recovery.unacknowledged, frozenset(self.recovery.interrupted)
        self.receive(Recovered(ends, interrupted))

    async def preflight(self) -> None:
        """Wait for the first job process, and let the connection register then.

        Raises `PreflightError` where none comes up: at once where it never will, else after
        `PREFLIGHT_SECONDS`.
        """
        with trio.move_on_after(PREFLIGHT_SECONDS):
            try:
                await self.pool.first_up()
            except JobProcessError as error:
                raise PreflightError(_NOT_REGISTERED + error.summary) from None
            self._can_run_jobs.set()
            return
        why = f"{self.trouble()}; tried for {PREFLIGHT_SECONDS:g} s"
        raise PreflightError(_NOT_REGISTERED + why)

    async def preflight_and_registration(self) -> None:
        """Wait until jobs can be run, and then until the registry knows of the worker."""
        await self.preflight()
        await self.is_registered.wait()

    def drain(self) -> None:
        """Take nothing new from now on; the registry gets the reason with each refusal."""
        self.receive(DrainAsked(self.shutdown.reason))

    def refuse_the_rest(self) -> None:
        """From now on everything is answered with a no, what was promised included."""
        self.receive(PromisesRevoked(self.shutdown.reason))
        self.open()

    async def wait_until_drained(self) -> None:
        """Wait until no job is live or promised, and the registry has acknowledged every end.

        An open session is not enough: it may be half-open, and a goodbye is too short to find out.
        """
        while self.engine.has_work or self.connection.unacknowledged:
            await self.change.wait()

    def trouble(self) -> str | None:
        """Why no job can be run at the moment; None where one can."""
        return self.pool.starts.trouble

    def health(self) -> Health:
        """Whether the worker does its work, for `/health`."""
        problems = [f"failed: {failure}" for failure in self.failures]
        if (trouble := self.trouble()) is not None:
            problems.append(trouble)
        if not self.connection.is_connected:
            problems.append("not registered with the registry")
        return Health(
            tuple(problems), (*self.journal.warnings, *self.observers.dropped, *SHORTAGES.current())
        )

    # -- news from the components ------------------------------------------------------------------

    def _take(self, event: BackendEvent) -> None:
        match event:
            case JobAssignment() | JobTermination() | SessionLost():
                self.receive(event)
            case AvailabilityRequest():
                self.receive(Offered(event, self.conditions()))
            case Registered():
                self.receive(SessionOpened(self.connection.worker_id, self.connection.token))
            case WorkerPong():
                pass
            case _:
                assert_never(event)

    async def _ask(self, request: AvailabilityRequest) -> None:
        options = self._options
        assert options.request_fnc is not None, "else the engine does not ask"
        refusal = await ask_request_fnc(
            options.request_fnc, request, timeout_seconds=options.request_timeout
        )
        self.receive(Decided(request.job_id, refusal))

    def _give_up(self, error: Exception) -> bool:
        """Whether to end at once because the registry cannot be reached; else drain first."""
        # Ends of an earlier life are in the journal: the next life can send them as well.
        if not self.connection.epoch or not (
            self.engine.has_work or self.connection.unacknowledged
        ):
            return True
        if not self.failures:
            logger.error("%s; draining: running jobs go on, nothing new is taken", error)
            self.failures.append(error)
            self.shutdown.drain(str(error))
        return False

    def _end_for_a_bug(self, bug: Exception) -> None:
        self.shutdown.ask(Request.STOP, f"the worker has failed: {type(bug).__name__}")
