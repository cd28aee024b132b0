"""The parts of one worker's life, made and wired together; nothing of it runs yet.

Made anew for every run, so that no part has a state from before. `Worker` runs them in order.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import attrs

from .._change import Change
from ..backend.connection import BackendConnection
from ..backend.token import TokenProvider
from ..control.frames import Hello, Ready
from ..control.job import JobInfo
from ..jobs.admission import Admission
from ..jobs.entrypoint import EntrypointRef
from ..jobs.prewarm import Prewarm
from ..journal.journal import Journal
from ..options import Options
from ..processes.guardian import Guardian
from ..processes.pool import Pool, PoolSettings
from ..processes.stop_ladder import Graces
from ..processes.sweeper import Sweeper
from ..protocol.messages import JobAssignment, Message
from ..protocol.vocabulary import vocabulary
from ..room_options import RoomOptions
from ..status.server import Health
from .edges import Edges
from .health_watch import MemoryLimits
from .intake import Intake, Terms
from .job_task import JobTools, supervise_job
from .live_jobs import LiveJob, LiveJobs
from .load import Load
from .recovery import Recovery
from .reporter import Reporter
from .shutdown import Shutdown, Stage
from .status_loop import report_status
from .telling import Teller

logger = logging.getLogger(__name__)

# How long the last messages may take to be delivered, and proven so.
FLUSH_SECONDS = 5.0


@attrs.frozen(kw_only=True)
class Agent:
    """What a worker runs: the entrypoint, and what every job starts from."""

    entrypoint: EntrypointRef
    initialize: EntrypointRef | None
    room_options: RoomOptions
    metadata: Mapping[str, Any]


class Parts:
    """One worker's parts, and what concerns several of them."""

    def __init__(self, options: Options, agent: Agent, edges: Edges, journal: Journal) -> None:
        self._options = options
        self._agent = agent
        self.journal = journal
        self.recovery = Recovery(journal.contents)
        self._reported_unknown: set[str] = set()
        self._warned_of_fields = False
        self._permissions = attrs.asdict(options.permissions)
        self._default_wire, self._left_behind = agent.room_options.to_wire()
        self.killed: list[str] = []
        """The jobs that did not stop when asked, and were killed."""
        self.failures: list[Exception] = []
        """Why the worker ends, where that is an error and it still had jobs to see to."""
        self.shutdown = Shutdown()
        self.change = Change()
        self.graces = Graces(
            close_timeout=options.close_timeout,
            termination_timeout=options.termination_timeout,
            hurry=self.shutdown.reached(Stage.HURRYING),
        )
        self.admission = Admission(
            max_processes=options.max_processes, load_threshold=options.load_threshold
        )
        self._load = Load(self.admission, options.load_fnc)
        self._load.check()
        self.connection = BackendConnection(
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
            dialer=edges.dialer,
            rng=edges.rng,
            worker_id=journal.contents.worker_id,
            announce=self._announcement,
            give_up=self._give_up,
            on_proven=self._note_proven,
        )
        self._reporter = Reporter(
            agent_id=options.agent_id,
            worker_id=lambda: self.connection.worker_id,
            vocabulary=vocabulary(options.status_vocabulary),
            admission=self.admission,
            load=self._load,
            shutdown=self.shutdown,
        )
        self.teller = Teller(
            journal=journal,
            reporter=self._reporter,
            post=self.connection.post,
            token=lambda: self.connection.token,
        )
        # Random, so that nobody else's processes can carry it.
        self.cookie_prefix = cookie_prefix = f"vsdk-{edges.rng.getrandbits(64):016x}"
        # A job whose worker died has as long to stop as one that is asked to.
        self.guardian = Guardian(options.close_timeout, cookie_prefix) if edges.is_real else None
        self.sweeper = Sweeper() if edges.is_real else None
        self.pool = Pool(
            edges.spawner,
            self._hello,
            PoolSettings(
                argv=(sys.executable, "-m", "vsdk_trio.runner"),
                cookie_prefix=cookie_prefix,
                initialize_timeout=options.initialize_timeout,
            ),
            Prewarm(num_idle=options.num_idle_processes, max_processes=options.max_processes),
            graces=self.graces,
            guardian=self.guardian,
            sweeper=self.sweeper,
            on_ready=self._check_what_arrives,
        )
        tools = JobTools(
            pool=self.pool,
            tell=self.teller.tell,
            release=self.admission.release,
            describe_job=self._describe_job,
            job_timeout=options.job_timeout,
            termination_timeout=options.termination_timeout,
            memory=MemoryLimits(warn_mb=options.memory_warn_mb, limit_mb=options.memory_limit_mb),
            note_killed=self._note_killed,
        )
        self.jobs = LiveJobs(
            lambda job: supervise_job(job, tools=tools),
            capacity=options.max_processes,
            change=self.change,
            journal=journal,
            ended=self.recovery.remembered,
            on_bug=self._end_for_a_bug,
        )
        self.intake = Intake(
            link=self.connection,
            admission=self.admission,
            load=self._load,
            jobs=self.jobs,
            reporter=self._reporter,
            terms=Terms(
                request_fnc=options.request_fnc,
                request_timeout=options.request_timeout,
                assignment_timeout=options.assignment_timeout,
            ),
            token=lambda: self.connection.token,
            change=self.change,
            on_registered=self._note_registered,
        )

    def health(self) -> Health:
        """Whether the worker does its work, for `/health`."""
        problems = [f"failed: {failure}" for failure in self.failures]
        if not self.connection.is_connected:
            problems.append("not registered with the registry")
        return Health(tuple(problems), tuple(self.journal.warnings))

    async def report_status(self) -> None:
        """Keep the registry's picture fresh, until cancelled."""
        await report_status(
            lambda: self.connection.post(self._reporter.status()),
            change=self.change,
            ping_interval=self._options.ping_interval,
        )

    def close_admission(self) -> None:
        """Take nothing new from now on; the registry is told why."""
        self.admission.close(f"worker is shutting down: {self.shutdown.reason}")
        self.change.notify()

    async def wait_until_drained(self) -> None:
        """Wait until no job is live or promised, and the registry is known to know how each ended.

        An open session is not enough: it may be half-open, and a goodbye is too short to find out.
        """
        while self._has_work or self.connection.owed:
            await self.change.wait()

    @property
    def _has_work(self) -> bool:
        return bool(len(self.jobs) or self.admission.reserved)

    def _announcement(self) -> list[Message]:
        running = ((job.job_id, job.announcement) for job in self.jobs)
        return [*self._reporter.announcement(running)]

    def _give_up(self, error: Exception) -> bool:
        """Whether to end at once because the registry cannot be reached; else drain first."""
        # What is owed from an earlier life is in the journal: the next one can tell it as well.
        if not self.connection.epoch or not (self._has_work or self.connection.owed):
            return True
        if not self.failures:
            logger.error("%s; draining: running jobs go on, nothing new is taken", error)
            self.failures.append(error)
            self.shutdown.advance(Stage.DRAINING, str(error))
        return False

    def _note_registered(self) -> None:
        self.teller.registered(self.connection.worker_id)

    def _note_proven(self, message: Message) -> None:
        self.teller.proven(message)
        self.change.notify()

    def _hello(self, cookie: str) -> Hello:
        options, agent = self._options, self._agent
        return Hello(
            entrypoint=agent.entrypoint.to_dict(),
            initialize=None if agent.initialize is None else agent.initialize.to_dict(),
            cookie=cookie,
            agent_id=options.agent_id,
            log_level=options.log_level,
            shutdown_callback_timeout=options.shutdown_callback_timeout,
        )

    def _end_for_a_bug(self, bug: Exception) -> None:
        self.shutdown.advance(Stage.STOPPING, f"the worker has failed: {type(bug).__name__}")

    def _note_killed(self, job: LiveJob) -> None:
        """Only what the worker's own end has killed belongs into how it ended."""
        if self.shutdown.stage >= Stage.STOPPING:
            self.killed.append(job.job_id)

    def _check_what_arrives(self, ready: Ready) -> None:
        """Say once which room options stay behind: they are live objects, and cannot be sent.

        They arrive all the same where the script, loaded by the job process, builds its
        `WorkerJob` there again: that one's context is looked at then.
        """
        if self._left_behind and not ready.recorded and not self._warned_of_fields:
            self._warned_of_fields = True
            logger.warning(
                "RoomOptions.%s will not reach the jobs: live objects cannot be sent; set them in "
                "the entrypoint, or build the WorkerJob at the top level of the script",
                ", ".join(self._left_behind),
            )

    def _describe_job(self, assignment: JobAssignment) -> JobInfo:
        """What the job process is told; raises `OptionsError` for room options of a wrong type."""
        defaults = self._agent.room_options
        if assignment.room_options:
            merged, unknown = defaults.merged(assignment.room_options)
            wire, _ = merged.to_wire()
        else:  # the usual case, and the shortest way to the job's start
            merged, unknown, wire = defaults, (), dict(self._default_wire)
        for name in sorted({*unknown} - self._reported_unknown):
            self._reported_unknown.add(name)
            logger.warning("the registry sends a room option that is not known here: %s", name)
        if assignment.room_id:
            wire["room_id"] = assignment.room_id
        return JobInfo(
            job_id=assignment.job_id,
            room_id=assignment.room_id,
            room_name=assignment.room_name,
            job_type=assignment.job_type,
            agent_id=self._options.agent_id,
            namespace=assignment.namespace,
            worker_id=self.connection.worker_id,
            url=assignment.url,
            token=assignment.token or merged.auth_token or self.connection.token,
            room_options=wire,
            metadata={**self._agent.metadata, **(assignment.metadata or {})},
            permissions=self._permissions,
            wait=assignment.wait,
        )
