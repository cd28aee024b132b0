"""The worker: its nursery tree, and the order in which its services start and end.

Each service is opened around the services that use it, so that a parent outlives its children by
construction: read `_run` from top to bottom for the order of the start, and from bottom to top for
the order of the end. What the worker decides is in `engine.py`; `driver.py` performs it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import attrs
import trio

from .._exceptions import leaves
from .._masking import hide, hide_environment, hide_url
from .._service import ServiceBody, first_of, open_service
from ..errors import PortInUseError, VsdkTrioError
from ..http_server.server import Listeners, bind_listeners
from ..jobs.entrypoint import EntrypointRef, describe
from ..journal.journal import open_journal
from ..options.room import RoomOptions
from ..options.worker import Options, WorkerOptions
from ..processes.edge import OnStarted
from ..processes.orphans import reap_zombies
from ..processes.program import require_interpreter
from ..status.sd_notify import ServiceManager, notify_service_manager
from ..status.server import describe_occupant, serve_status
from ..status.view import WorkerView
from ..system.stopping import ExitCode, Request, Stage, exit_code_of
from ..telemetry.events import Observation, Observers
from ..telemetry.logs.loggers import get_logger
from ..telemetry.logs.setup import say_last
from ..telemetry.metrics.worker_tallies import WorkerTallies
from ..telemetry.traces.worker_traces import open_traces
from .driver import WorkerDriver
from .environment import WorkerEnvironment
from .loop_watch import watched_loop
from .shutdown import watch_signals
from .snapshot import Address, Snapshots, open_sources
from .start_message import Agent

logger = get_logger(__name__)

# For services that have little to say at their end.
SHORT_GRACE_SECONDS = 3.0


@attrs.frozen
class WorkerReport:
    """How a worker ended: with the ids of the jobs that had to be killed."""

    killed: tuple[str, ...] = ()


class WorkerHandle:
    """A running worker, for the program around it."""

    def __init__(self, driver: WorkerDriver, snapshots: Snapshots) -> None:
        self._driver = driver
        self._snapshots = snapshots

    @property
    def port(self) -> int | None:
        """Where the worker's status is served; None in a simulated world."""
        return self._snapshots.address.port or None

    def snapshot(self) -> WorkerView:
        """The worker, its jobs and its processes, as they stand."""
        return self._snapshots.take()

    @property
    def worker_id(self) -> str:
        """The id that the registry gave the worker."""
        return self._driver.connection.worker_id

    @property
    def observers(self) -> Observers[Observation]:
        """For programs that want to know what happens: `with handle.observers.listening(f):`."""
        return self._driver.observers

    @property
    def job_count(self) -> int:
        """How many jobs are live."""
        return self._driver.engine.job_count

    def renew(self) -> None:
        """Have every job from now on load the agent's code anew; running jobs keep what they have.

        The worker's own part of it, its options and what they call, stays as it is.
        """
        self._driver.pool.renew()

    def drain(self, reason: str = "asked to drain") -> None:
        """Take nothing new, let what runs finish, then end. Like SIGTERM."""
        self._driver.shutdown.drain(reason)

    def stop(self, reason: str = "asked to stop") -> None:
        """Stop what runs, politely, then end. Like SIGINT."""
        self._driver.shutdown.ask(Request.STOP, reason)

    def hurry(self, reason: str = "asked to hurry") -> None:
        """Stop, and cut every grace to `termination_timeout`. Like a second SIGINT."""
        self._driver.shutdown.ask(Request.HURRY, reason)


class Worker:
    """Serves a registry: takes jobs, runs each in a process of its own, reports how it ended.

    Implements the reference's `Worker`.

    Args:
        options: The worker's options; `WorkerOptions` names the entrypoint itself.
        entrypoint: The function that job processes import.
        room_options: What every job starts from; its assignment may say otherwise.
        metadata: The same for a job's metadata.
        environment: Another world to run in, for tests.

    Raises:
        EntrypointError: A job process cannot import the entrypoint.
        OptionsError: `VSDK_TRIO_TRANSPORT` is no transport.
    """

    def __init__(
        self,
        options: Options,
        *,
        entrypoint: Callable[..., Any] | None = None,
        room_options: RoomOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        environment: WorkerEnvironment | None = None,
    ) -> None:
        if entrypoint is None:
            if not isinstance(options, WorkerOptions):
                raise TypeError("a Worker needs an entrypoint, or WorkerOptions(entrypoint_fnc=)")
            entrypoint = options.entrypoint_fnc
        room_options = room_options if room_options is not None else RoomOptions()
        # Jobs inherit the variable: a transport that none of them knows is found now.
        room_options.effective_transport(os.environ)
        hide_environment(os.environ)
        hide(options.auth_token, options.debug_token)
        hide_url(options.http_proxy)
        self._options = options
        self._agent = Agent(
            entrypoint=describe(entrypoint),
            initialize=_initializer(options),
            room_options=room_options,
            metadata=dict(metadata or {}),
        )
        self._environment = environment if environment is not None else WorkerEnvironment()
        require_interpreter()

    @staticmethod
    def run_worker(options: WorkerOptions, default_room_options: RoomOptions | None = None) -> None:
        """Run a worker as a program, as the published client does: see `WorkerJob.start`."""
        run_worker_program(lambda: Worker(options, room_options=default_room_options))

    async def run(
        self, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> WorkerReport:
        """Serve until a signal, the handle or an error ends it; `started()` once registered.

        A signal that comes before that calls the registration off, and this returns.
        Cancelled, it ends in the same order as after SIGINT: jobs stop politely, their ends are
        sent, and `offline` is the last message. An exception group is a bug.

        Returns:
            The ids of the jobs that had to be killed.

        Raises:
            StateDirInUseError: Another worker has the state directory.
            PortInUseError: The port of the status server is taken.
            PreflightError: No job process comes up.
            RegistrationRefusedError: The registry does not want this worker.
            RegistryUnreachableError: The registry cannot be reached any more.
        """
        try:
            return await self._run(task_status)
        except BaseExceptionGroup as group:
            errors = [*leaves(group)]
            if len(errors) == 1 and isinstance(error := errors[0], VsdkTrioError):
                raise error from error.__cause__
            # As deep as the nursery tree, and Python prints no group deeper than ten: the bug
            # itself would not be seen.
            raise BaseExceptionGroup("the worker failed", errors) from None

    async def _run(self, task_status: trio.TaskStatus[WorkerHandle]) -> WorkerReport:
        options, environment = self._options, self._environment
        async with AsyncExitStack() as stack:
            observers: Observers[Observation] = Observers()
            tallies = WorkerTallies()
            observers.add(tallies)
            # Around everything, as the journal is: a trace ends with the proof of its job's end.
            traces = await stack.enter_async_context(
                open_traces(options.traces, options.agent_id, observers)
            )
            # Around everything: the last proofs of delivery come with the connection's goodbye.
            journal = await stack.enter_async_context(
                open_journal(options.state_dir, options.agent_id, environment.disk, observers)
            )
            driver = WorkerDriver(options, self._agent, environment, journal, observers, traces)
            # Bound before anything is done, so that a taken port is found before a job can be.
            listeners = await _listen(options) if environment.is_real else None
            snapshots = Snapshots(driver=driver, options=options, address=Address.of(listeners))

            async def open_around(body: ServiceBody, grace: float) -> None:
                await stack.enter_async_context(open_service(body, grace=grace))

            if listeners is not None:
                stack.enter_context(watched_loop())
                await open_around(partial(watch_signals, driver.shutdown), SHORT_GRACE_SECONDS)
                sources = stack.enter_context(open_sources(driver, options, snapshots, tallies))
                await open_around(partial(serve_status, listeners, sources), SHORT_GRACE_SECONDS)
                if (manager := ServiceManager.from_env(os.environ, os.getpid())) is not None:
                    notify = partial(
                        notify_service_manager,
                        manager,
                        snapshots.for_service_manager,
                        driver.change,
                    )
                    await open_around(notify, SHORT_GRACE_SECONDS)
            if environment.is_real and os.getpid() == 1:
                await open_around(reap_zombies, SHORT_GRACE_SECONDS)
            if journal.is_on:
                await self._recover(driver)
            # Before the connection: the template loads while the registry is being reached.
            if driver.guardian is not None:
                await open_around(driver.guardian.run, 2 * SHORT_GRACE_SECONDS)
            if driver.forkserver is not None:
                await open_around(driver.forkserver.serve, SHORT_GRACE_SECONDS)
            # Around the connection: what the registry sends is answered until the goodbye.
            await open_around(driver.answer, SHORT_GRACE_SECONDS)
            await open_around(partial(_stay_connected, driver), driver.connection.grace_seconds)
            # Before it ends, whatever it is that ends the worker.
            stack.callback(driver.refuse_the_rest)
            if driver.sweeper is not None:
                await open_around(driver.sweeper.run, SHORT_GRACE_SECONDS)
            await open_around(driver.pool.run, driver.graces.total_seconds)
            # The connection has its answer from init-config meanwhile, and registers after this.
            await first_of(
                driver.preflight_and_registration, driver.shutdown.reached(Stage.DRAINING).wait
            )
            task_status.started(WorkerHandle(driver, snapshots))
            if driver.shutdown.stage is not Stage.SERVING:
                logger.info("%s before a job could come", driver.shutdown.reason)
                # The connection may register in its last moments.
                driver.refuse_the_rest()
                return WorkerReport()
            await open_around(driver.keep_books, SHORT_GRACE_SECONDS)
            async with open_service(driver.run_jobs, grace=driver.graces.total_seconds + 1):
                driver.open()
                await self._serve(driver)
        if driver.failures:
            raise driver.failures[0]
        return WorkerReport(killed=tuple(driver.engine.killed))

    async def _recover(self, driver: WorkerDriver) -> None:
        """Settle what an earlier life has left, unless the worker is to end meanwhile."""
        recovery = driver.recovery

        async def recover() -> None:
            await recovery.run(
                driver.journal,
                self._environment.process_table,
                cookie_prefix=driver.cookie_prefix,
                grace_seconds=self._options.close_timeout,
            )
            driver.recovered()

        await first_of(recover, driver.shutdown.reached(Stage.DRAINING).wait)

    async def _serve(self, driver: WorkerDriver) -> None:
        """Until the worker is to stop what still runs."""
        shutdown = driver.shutdown
        try:
            await shutdown.reached(Stage.DRAINING).wait()
            logger.info("%s: %s", shutdown.stage.name.lower(), shutdown.reason)
            driver.drain()
            driver.connection.flush_soon()
            with trio.move_on_after(self._options.drain_timeout):
                await first_of(driver.wait_until_drained, shutdown.reached(Stage.STOPPING).wait)
        finally:
            # Reached at once where the worker is cancelled, or one of its services fails.
            shutdown.ask(Request.STOP, "cancelled")
            driver.refuse_the_rest()


async def _stay_connected(
    driver: WorkerDriver, stopping: trio.Event, *, task_status: trio.TaskStatus[None]
) -> None:
    """Service body: the connection. It registers once `WorkerDriver.preflight` has passed."""
    task_status.started()
    await driver.connection.run(
        stopping, task_status=OnStarted(lambda _: driver.is_registered.set())
    )


async def _listen(options: Options) -> Listeners:
    try:
        return await bind_listeners(options.host, options.port)
    except PortInUseError as error:
        there = await describe_occupant(options.host, options.port)
        how = "the worker shows itself there: --port 0, Options(port=0) or VSDK_TRIO_PORT=0"
        raise PortInUseError(f"{error} ({there}{how})") from None


def _initializer(options: Options) -> EntrypointRef | None:
    if (function := options.initialize_process_fnc) is None:
        return None
    return describe(function, what="initialize_process_fnc", asynchronous=False)


def run_worker_program(make_worker: Callable[[], Worker]) -> None:
    """Run the worker until its end; returns after a clean one, else raises `SystemExit`.

    An error that is meant for a person becomes one line on stderr. Anything else is a bug, and
    comes out with its traceback.
    """
    try:
        worker = make_worker()
        # What is loaded by now stays: the collector need not look through it while a job waits.
        gc.freeze()
        report = trio.run(worker.run)
    except KeyboardInterrupt:
        # Before the worker listens to signals, or after: nothing runs that could be stopped.
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except VsdkTrioError as error:
        say_last(f"vsdk_trio: {error}")
        raise SystemExit(exit_code_of(error)) from None
    if report.killed:
        names = ", ".join(report.killed)
        say_last(f"vsdk_trio: jobs that did not stop in time were killed: {names}")
        raise SystemExit(ExitCode.JOBS_KILLED)
