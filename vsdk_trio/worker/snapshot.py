"""What pages, metrics and `systemd` show of a worker, made at the moment it is asked for.

Reads and never changes anything; knows nothing of HTTP. What takes a system call (memory, CPU) is
asked of the system here and at no other time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import trio

from ..http_server.server import Listeners
from ..options.worker import Options
from ..processes.job_process import JobProcess
from ..status.gauges import read_worker
from ..status.history import History
from ..status.sd_notify import ServiceState
from ..status.sources import StatusSources
from ..status.view import DrainView, JobView, LineView, ProcessView, WorkerView
from ..system.stopping import Stage
from ..telemetry.logs.lines import LogLine
from ..telemetry.logs.recent import RecentLines, recent_lines
from ..telemetry.metrics.worker_tallies import WorkerTallies
from .driver import WorkerDriver
from .live_job import JobSnapshot

# What the end takes at most once the jobs are gone: flush, goodbyes, and the services around.
LEAVING_SECONDS = 20.0


def _seconds_to_unix() -> float:
    return time.time() - trio.current_time()


@attrs.frozen(kw_only=True)
class Address:
    """Where the worker is asked; nowhere in a simulated world."""

    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, listeners: Listeners | None) -> Address:
        """The address that sockets are bound to."""
        if listeners is None:
            return cls()
        host, port = listeners[0].getsockname()[:2]
        return cls(host=host, port=port)


@attrs.frozen(kw_only=True)
class Snapshots:
    """Makes snapshots of one worker; made as its life begins."""

    driver: WorkerDriver
    options: Options
    address: Address
    # Fixed, so that a moment has one name, whatever is done to the wall clock meanwhile.
    to_unix: float = attrs.field(factory=_seconds_to_unix)
    began: float = attrs.field(factory=trio.current_time)

    def unix_now(self) -> float:
        """The moment, as views name it."""
        return self.to_unix + trio.current_time()

    def take(self) -> WorkerView:
        """The worker as it stands."""
        driver, options = self.driver, self.options
        connection, health = driver.connection, driver.health()
        engine = driver.engine.snapshot(driver.conditions())
        processes = tuple(self._processes())
        return WorkerView(
            now=self.unix_now(),
            started_at=self.to_unix + self.began,
            agent_id=options.agent_id,
            worker_id=connection.worker_id,
            host=self.address.host,
            port=self.address.port,
            pid=os.getpid(),
            executor_type=options.executor_type.value,
            log_level=options.log_level,
            register=options.register,
            max_processes=options.max_processes,
            num_idle_processes=options.num_idle_processes,
            load_threshold=options.load_threshold,
            measures_load=options.load_fnc is not None,
            is_connected=connection.is_connected,
            sessions=connection.epoch,
            owed=connection.unacknowledged,
            unsent=connection.undelivered,
            state=engine.fact.name.lower(),
            load=engine.load,
            promised=engine.promised,
            jobs=tuple(self._jobs(engine.jobs, processes)),
            processes=processes,
            problems=health.problems,
            warnings=health.warnings,
            drain=self._drain(),
        )

    def for_service_manager(self) -> ServiceState:
        """The worker in one line, for systemd."""
        driver, drain = self.driver, self._drain()
        connection = driver.connection
        if drain is not None:
            status = f"{drain.stage} ({drain.reason})"
            if drain.waiting_for:
                status += f", waiting for {', '.join(drain.waiting_for)}"
        elif (trouble := driver.trouble()) is not None:
            status = trouble
        elif not connection.is_connected:
            status = "not registered with the registry"
        else:
            jobs = f"{driver.engine.job_count} of {self.options.max_processes} jobs"
            status = f"registered as {connection.worker_id}, {jobs}"
        return ServiceState(
            is_ready=connection.epoch > 0, is_stopping=drain is not None, status=status
        )

    def _jobs(
        self, jobs: Iterable[JobSnapshot], processes: Iterable[ProcessView]
    ) -> Iterator[JobView]:
        pids = {process.job_id: process.pid for process in processes}
        for job in jobs:
            yield JobView(
                job_id=job.job_id,
                room_id=job.room_id,
                state=job.state,
                accepted_at=self.to_unix + job.accepted_at,
                url=job.url,
                stopping_because=job.stopping_because,
                pid=pids.get(job.job_id),
            )

    def _processes(self) -> Iterator[ProcessView]:
        for process, state in self.driver.pool.processes():
            yield ProcessView(
                pid=process.pid,
                state=state.value,
                started_at=self.to_unix + process.started_at,
                heard_at=self.to_unix + process.heard_at,
                job_id=process.job_id,
                memory_mb=process.memory_mb(),
                cpu_seconds=process.cpu_seconds(),
                lag_seconds=process.lag_seconds,
                blocked_since=self._blocked_since(process),
            )

    def _blocked_since(self, process: JobProcess) -> float | None:
        """Blocked is what the health watch warns of: no answer for `loop_warn_after`; 0: never."""
        since, limit = process.silent_since, self.options.loop_warn_after
        if since is None or limit <= 0 or trio.current_time() - since < limit:
            return None
        return self.to_unix + since

    def _drain(self) -> DrainView | None:
        shutdown = self.driver.shutdown
        if shutdown.stage is Stage.SERVING:
            return None
        waited = trio.current_time() - shutdown.since
        is_draining = shutdown.stage is Stage.DRAINING
        jobs_may_run = max(0.0, self.options.drain_timeout - waited) if is_draining else 0.0
        graces = self.driver.graces.total_seconds + LEAVING_SECONDS
        stopping = graces if is_draining else max(0.0, graces - waited)
        return DrainView(
            stage=shutdown.stage.name.lower(),
            reason=shutdown.reason,
            since=self.to_unix + shutdown.since,
            jobs_may_run_seconds=jobs_may_run,
            at_most_seconds=jobs_may_run + stopping,
            waiting_for=tuple(self._waiting_for()),
        )

    def _waiting_for(self) -> Iterator[str]:
        driver = self.driver
        if count := driver.engine.job_count:
            yield _counted(count, "job to end", "jobs to end")
        if count := driver.engine.admission.reserved:
            yield _counted(count, "promised job to come", "promised jobs to come")
        if count := driver.connection.unacknowledged:
            yield _counted(
                count,
                "job update to be known to the registry",
                "job updates to be known to the registry",
            )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


@contextmanager
def open_sources(
    driver: WorkerDriver, options: Options, snapshots: Snapshots, tallies: WorkerTallies
) -> Iterator[StatusSources]:
    """What the status server may ask of a worker; its memories fill for the length of the block."""
    history = History(snapshots.unix_now)
    with (
        driver.observers.listening(history),
        recent_lines() as recent,
    ):
        yield StatusSources(
            look=snapshots.take,
            history=history,
            observers=driver.observers,
            drain=driver.shutdown.drain,
            measure=lambda: (*read_worker(snapshots.take()), *tallies.read()),
            lines_since=lambda number: _lines(recent, number),
            lines_of=lambda job_id: _views(recent.of_job(job_id)),
            debug_token=options.debug_token,
        )


def _lines(recent: RecentLines, number: int) -> tuple[int, Sequence[LineView]]:
    newest, lines = recent.after(number)
    return newest, _views(lines)


def _views(lines: Iterable[LogLine]) -> list[LineView]:
    return [
        LineView(
            at=line.created,
            level=line.level_name,
            logger=line.logger,
            message=f"{line.message}\n{line.exception}" if line.exception else line.message,
            job_id=line.fields.get("job_id"),
        )
        for line in lines
    ]
