"""What a worker looks like at one moment, as values: what every page and route is made from.

Pure. The worker makes a new view for each request; a view is never updated.
Moments are Unix time in seconds, lengths are seconds, memory is MiB. Nothing secret is in it.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Health:
    """Whether a worker does its work; `problems` says why not, in words for a person.

    `warnings` are what a person should see to although it does.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class JobView:
    """One live job: accepted, and its process not gone yet."""

    job_id: str
    room_id: str
    state: str
    """Its `JobState`."""
    accepted_at: float
    url: str = ""
    stopping_because: str | None = None
    pid: int | None = None
    """Its process, once it has one."""


@attrs.frozen(kw_only=True)
class ProcessView:
    """One job process: `starting`, `idle`, `busy` with a job, or `stopping`."""

    pid: int
    state: str
    started_at: float
    heard_at: float
    """When it last said something on its control channel; at first, when it was started."""
    job_id: str | None = None
    memory_mb: float | None = None
    """What it occupies, seen from outside; None if unknown."""
    cpu_seconds: float | None = None
    """What it has used of the CPU since its start; None if unknown."""
    lag_seconds: float | None = None
    """How long its event loop was blocked at worst, by its last answer; None before one."""
    blocked_since: float | None = None
    """When it was asked for a sign of life that is overdue (`loop_warn_after`); None: it is not."""

    def cpu_percent(self, now: float) -> float:
        """Its share of one CPU since it was started."""
        return 100 * (self.cpu_seconds or 0.0) / max(now - self.started_at, 0.001)


@attrs.frozen(kw_only=True)
class DrainView:
    """A worker on its way out: since when, why, how much longer at most, and for what."""

    stage: str
    """`draining`, `stopping` or `hurrying`."""
    reason: str
    since: float
    jobs_may_run_seconds: float
    """How much longer running jobs are left alone; 0 once they are being stopped."""
    at_most_seconds: float
    """How much longer the worker may take, all graces included."""
    waiting_for: tuple[str, ...]
    """What it waits for, in words, without ids."""


@attrs.frozen(kw_only=True)
class WorkerView:
    """One worker at one moment."""

    now: float
    started_at: float
    agent_id: str
    worker_id: str
    host: str
    port: int
    pid: int
    executor_type: str
    log_level: str
    register: bool
    max_processes: int
    num_idle_processes: int
    load_threshold: float
    measures_load: bool = False
    """Offers are measured against the threshold: there is a `load_fnc`."""
    is_connected: bool
    sessions: int
    """How many times it has been registered."""
    owed: int
    """Job updates that the registry has not acknowledged."""
    unsent: int = 0
    """Messages that wait to be sent."""
    state: str
    """`idle`, `busy`, `full` or `draining`."""
    load: float
    promised: int
    """Slots held for jobs that were promised and not assigned yet."""
    jobs: tuple[JobView, ...] = ()
    processes: tuple[ProcessView, ...] = ()
    problems: tuple[str, ...] = ()
    """Why it does not do its work, in words for a person; empty while it does."""
    warnings: tuple[str, ...] = ()
    """What a person should see to although it does its work."""
    drain: DrainView | None = None

    @property
    def blocked(self) -> dict[str, float]:
        """The jobs whose event loop is blocked, and since when."""
        return {
            process.job_id: process.blocked_since
            for process in self.processes
            if process.job_id is not None and process.blocked_since is not None
        }

    @property
    def reasons_not_ready(self) -> tuple[str, ...]:
        """Why no new job should be sent here. At capacity is none: a slot may soon be free."""
        leaving = () if self.drain is None else (f"{self.drain.stage}: {self.drain.reason}",)
        return (*self.problems, *leaving)

    @property
    def taken(self) -> str | None:
        """What of its slots is taken, in words, where it is full; None where it is not."""
        if self.state != "full":
            return None
        promised = f", {self.promised} promised" if self.promised else ""
        return f"{len(self.jobs)} of {self.max_processes} jobs{promised}"

    @property
    def to_be_seen_to(self) -> tuple[str, ...]:
        """The warnings, and that jobs are blocked; without ids, for anybody may read it."""
        if not (blocked := len(self.blocked)):
            return self.warnings
        what = "1 job blocks its" if blocked == 1 else f"{blocked} jobs block their"
        return (*self.warnings, f"{what} event loop; the log has the stack")

    def job(self, job_id: str) -> JobView | None:
        """The live job of that id, if there is one."""
        return next((job for job in self.jobs if job.job_id == job_id), None)


@attrs.frozen(kw_only=True)
class LineView:
    """One line of the log; nothing secret is in it."""

    at: float
    level: str
    logger: str
    message: str
    job_id: str | None = None
