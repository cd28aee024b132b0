"""The parts of one worker's life, made and wired together; nothing of it runs yet.

Made anew for every run, so that no part has a state from before. `Worker` runs them in order.
"""

from __future__ import annotations

import logging
from functools import partial

import trio

from .._service import Notifier
from ..backend.connection import BackendConnection
from ..backend.token import TokenProvider
from ..errors import JobProcessError, OptionsError, PreflightError
from ..forkserver.orders import Brief
from ..forkserver.spawner import Forkserver, missing_for_forking
from ..forkserver.template import TemplateSettings
from ..jobs.admission import Admission
from ..jobs.prewarm import Prewarm
from ..jobs.starting import PREFLIGHT_SECONDS
from ..journal.journal import Journal
from ..options.worker import Options
from ..processes.guardian import Guardian
from ..processes.orphans import Sweeper
from ..processes.pool import Pool, PoolSettings
from ..processes.program import command_line
from ..processes.stop_ladder import Graces
from ..protocol.messages import WireMessage
from ..protocol.vocabulary import vocabulary
from ..status.view import Health
from ..system.shortages import SHORTAGES
from ..system.stopping import Request, Stage
from ..telemetry.events import JobRecovered, Observation, Observers, StatusReported
from ..telemetry.logs.loggers import get_logger
from ..telemetry.traces.worker_traces import Traces
from .briefing import Agent, Briefing
from .edges import Edges
from .health_watch import HealthRules
from .intake import Intake, Terms
from .job_task import JobTools, supervise_job
from .live_jobs import LiveJob, LiveJobs
from .load import Load
from .recovery import Recovery
from .reporter import Reporter
from .shutdown import Shutdown
from .status_loop import report_status
from .telling import Teller

logger = get_logger(__name__)

_NOT_REGISTERED = "not registered, because no job could be run: "

# How long the last messages may take to be delivered, and proven so.
FLUSH_SECONDS = 5.0


class Parts:
    """One worker's parts, and what concerns several of them."""

    def __init__(
        self,
        options: Options,
        agent: Agent,
        edges: Edges,
        journal: Journal,
        observers: Observers[Observation],
        traces: Traces,
    ) -> None:
        self._options = options
        self._traces = traces
        self.observers = observers
        """Told of everything that an operator counts; see `observations`."""
        self._edges = edges
        self.journal = journal
        self.recovery = Recovery(journal.contents)
        self.killed: list[str] = []
        """The jobs that did not stop when asked, and were killed."""
        self.failures: list[Exception] = []
        """Why the worker ends, where that is an error and it still had jobs to see to."""
        self.shutdown = Shutdown(observers)
        self.change = Notifier()
        self.graces = Graces(
            close_timeout=options.close_timeout,
            termination_timeout=options.termination_timeout,
            hurry=self.shutdown.reached(Stage.HURRYING),
        )
        self.admission = Admission(
            max_processes=options.max_processes, load_threshold=options.load_threshold
        )
        self.load = Load(self.admission, options.load_fnc)
        self.load.check()
        self._can_run_jobs = trio.Event()
        self.is_registered = trio.Event()
        """Set with the first session."""
        self.connection = self._make_connection()
        self.reporter = Reporter(
            agent_id=options.agent_id,
            worker_id=self._worker_id,
            vocabulary=vocabulary(options.status_vocabulary),
            admission=self.admission,
            load=self.load,
            shutdown=self.shutdown,
            trouble=self.trouble,
        )
        self.teller = Teller(
            journal=journal,
            reporter=self.reporter,
            post=self.connection.post,
            observe=observers,
        )
        # Random, so that nobody else's processes can carry it.
        self.cookie_prefix = f"vsdk-{edges.rng.getrandbits(64):016x}"
        # A job whose worker died has as long to stop as one that is asked to.
        self.guardian = (
            Guardian(options.close_timeout, self.cookie_prefix) if edges.is_real else None
        )
        self.sweeper = Sweeper() if edges.is_real else None
        briefing = Briefing(
            options, agent, worker_id=self._worker_id, token=self._token, traces=traces.are_on
        )
        self.forkserver = self._make_forkserver(agent)
        self.pool = self._make_pool(briefing)
        self.jobs = self._make_jobs(briefing)
        self.intake = self._make_intake()

    def _make_connection(self) -> BackendConnection:
        options = self._options
        return BackendConnection(
            TokenProvider(options.auth_token),
            options.agent_id,
            max_retry=options.max_retry,
            http_proxy=options.http_proxy,
            backend_url=options.backend_url,
            load_threshold=options.load_threshold,
            max_processes=options.max_processes,
            signaling_base_url=options.signaling_base_url,
            ssl_context=options.tls_context(),
            registration_timeout=options.registration_timeout,
            heartbeat_interval=options.heartbeat_interval,
            flush_timeout=FLUSH_SECONDS,
            dialer=self._edges.dialer,
            rng=self._edges.rng,
            worker_id=self.journal.contents.worker_id,
            announce=self._announcement,
            give_up=self._give_up,
            on_acknowledged=self._note_proven,
            observe=self.observers,
            hold=self._can_run_jobs.wait,
        )

    def _make_forkserver(self, agent: Agent) -> Forkserver | None:
        """The forkserver, where one is asked for and possible."""
        options = self._options
        if options.start_method == "spawn" or not self._edges.is_real:
            return None
        is_demanded = options.start_method == "forkserver"
        if (missing := missing_for_forking()) is not None:
            if is_demanded:
                raise OptionsError(
                    f"option 'start_method' cannot be 'forkserver' here: {missing}; use 'auto'"
                )
            logger.info("job processes are started afresh and not forked: %s", missing)
            return None
        settings = TemplateSettings(
            argv=command_line("vsdk_trio.forkserver.program"),
            brief=Brief(
                entrypoint=agent.entrypoint.to_dict(),
                initialize=None if agent.initialize is None else agent.initialize.to_dict(),
                preload=list(options.preload),
                log_level=options.log_level,
                cautious=not is_demanded,
            ),
            load_seconds=options.initialize_timeout,
        )
        return Forkserver(
            settings,
            self._edges.spawner,
            cookie_prefix=self.cookie_prefix,
            guardian=self.guardian,
            log_level=logging.WARNING if is_demanded else logging.INFO,
        )

    def _make_pool(self, briefing: Briefing) -> Pool:
        options = self._options
        settings = PoolSettings(
            argv=command_line("vsdk_trio.runner"),
            cookie_prefix=self.cookie_prefix,
            initialize_timeout=options.initialize_timeout,
        )
        return Pool(
            self.forkserver or self._edges.spawner,
            briefing.hello,
            settings,
            Prewarm(
                num_idle=options.num_idle_processes,
                max_processes=options.max_processes,
                max_refills=max(2, self._edges.processors),
                max_starting=max(4, 2 * self._edges.processors),
            ),
            graces=self.graces,
            guardian=self.guardian,
            sweeper=self.sweeper,
            on_ready=briefing.check_what_arrives,
            observe=self.observers,
        )

    def _make_jobs(self, briefing: Briefing) -> LiveJobs:
        options = self._options
        tools = JobTools(
            pool=self.pool,
            tell=self.teller.tell,
            release=self.admission.release,
            describe_job=briefing.describe_job,
            job_timeout=options.job_timeout,
            termination_timeout=options.termination_timeout,
            health=HealthRules(
                interval=options.health_interval,
                loop_warn_after=options.loop_warn_after,
                memory_warn_mb=options.memory_warn_mb,
                memory_limit_mb=options.memory_limit_mb,
                memory_warn_cooldown=options.memory_warn_cooldown,
            ),
            note_killed=self._note_killed,
            observe=self.observers,
            traces=self._traces,
        )
        return LiveJobs(
            partial(supervise_job, tools=tools),
            agent_id=options.agent_id,
            change=self.change,
            journal=self.journal,
            ended=self.recovery.remembered,
            on_bug=self._end_for_a_bug,
            observe=self.observers,
        )

    def _make_intake(self) -> Intake:
        options = self._options
        return Intake(
            link=self.connection,
            admission=self.admission,
            load=self.load,
            jobs=self.jobs,
            reporter=self.reporter,
            terms=Terms(
                request_fnc=options.request_fnc,
                request_timeout=options.request_timeout,
                assignment_timeout=options.assignment_timeout,
            ),
            token=self._token,
            teller=self.teller,
            change=self.change,
            on_registered=self._note_registered,
            trouble=self.trouble,
            observe=self.observers,
        )

    def _worker_id(self) -> str:
        return self.connection.worker_id

    def _token(self) -> str:
        return self.connection.token

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

    async def tell_of_starts(self) -> None:
        """Let the registry know when jobs can be run again, or cannot any more; until cancelled."""
        trouble = self.trouble()
        while True:
            await self.pool.starts_change.wait()
            if (now := self.trouble()) != trouble:
                (logger.info if now is None else logger.error)("%s", now or "jobs can be run again")
                trouble = now
                self.change.notify()

    def tell_of_earlier_life(self) -> None:
        """Tell the registry, and whoever observes, how jobs ended that this worker had before."""
        interrupted = {*self.recovery.interrupted}
        for job_id in (owed := self.recovery.owed):
            self.observers(JobRecovered(job_id=job_id, is_interrupted=job_id in interrupted))
        self.teller.tell_again(owed)

    async def report_status(self) -> None:
        """Keep the registry's picture fresh, until cancelled."""

        def post() -> None:
            status = self.reporter.status()
            self.observers(StatusReported(load=status.load or 0.0))
            self.connection.post(status)

        await report_status(post, change=self.change, ping_interval=self._options.ping_interval)

    def close_admission(self) -> None:
        """Take nothing new from now on; the registry is told why."""
        self.admission.close(f"worker is shutting down: {self.shutdown.reason}")
        self.change.notify()

    def refuse_the_rest(self) -> None:
        """From now on everything is answered with a no, what was promised included."""
        self.close_admission()
        self.admission.revoke()
        self.intake.refuse_undecided()
        self.intake.open()

    async def wait_until_drained(self) -> None:
        """Wait until no job is live or promised, and the registry is known to know how each ended.

        An open session is not enough: it may be half-open, and a goodbye is too short to find out.
        """
        while self._has_work or self.connection.unacknowledged:
            await self.change.wait()

    @property
    def _has_work(self) -> bool:
        return bool(len(self.jobs) or self.admission.reserved)

    def _announcement(self) -> list[WireMessage]:
        running = ((job.job_id, job.announcement) for job in self.jobs)
        return [*self.reporter.announcement(running)]

    def _give_up(self, error: Exception) -> bool:
        """Whether to end at once because the registry cannot be reached; else drain first."""
        # What is owed from an earlier life is in the journal: the next one can tell it as well.
        if not self.connection.epoch or not (self._has_work or self.connection.unacknowledged):
            return True
        if not self.failures:
            logger.error("%s; draining: running jobs go on, nothing new is taken", error)
            self.failures.append(error)
            self.shutdown.drain(str(error))
        return False

    def _note_registered(self) -> None:
        self.teller.registered(self._worker_id())

    def _note_proven(self, message: WireMessage) -> None:
        self.teller.proven(message)
        self.change.notify()

    def _end_for_a_bug(self, bug: Exception) -> None:
        self.shutdown.ask(Request.STOP, f"the worker has failed: {type(bug).__name__}")

    def _note_killed(self, job: LiveJob) -> None:
        """Only what the worker's own end has killed belongs into how it ended."""
        if self.shutdown.stage >= Stage.STOPPING:
            self.killed.append(job.job_id)
