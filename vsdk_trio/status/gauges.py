"""The gauges of a worker, read from its view at the moment of a scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ..telemetry.metrics.families import LIVE_STATES
from ..telemetry.metrics.own_process import read_build
from ..telemetry.metrics.tallies import Family, Key, Label, Reading
from .view import WorkerView

PROCESS_STATES: Final = ("starting", "idle", "busy", "stopping")
_MIB: Final = 1 << 20

_Values = float | Mapping[Key, float]


def _gauge(name: str, help: str, when: str, *labels: Label) -> Family:
    return Family(name=name, kind="gauge", help=help, when=when, labels=labels)


REGISTERED: Final = _gauge(
    "vsdk_trio_registered",
    "1 while the worker has a session with the registry, else 0.",
    "0 for a minute: the worker gets no jobs; see failed attempts.",
)
READY: Final = _gauge(
    "vsdk_trio_ready",
    "1 while /readyz is 200: registered, able to start job processes, not shutting down.",
    "0 and not draining: see registered. If that is 1, no job process starts: see /readyz.",
)
PROBLEMS: Final = _gauge(
    "vsdk_trio_health_problems",
    "Number of problems that make /health return 503.",
    "Above 0: read /health.",
)
WARNINGS: Final = _gauge(
    "vsdk_trio_health_warnings",
    "Number of warnings in /health; the worker still works.",
    "Above 0: read /health.",
)
DRAINING: Final = _gauge(
    "vsdk_trio_draining",
    "1 while the worker refuses new jobs before its end, else 0.",
    "If unexpected: a person or a supervisor sent SIGTERM.",
)
DRAIN_SECONDS: Final = _gauge(
    "vsdk_trio_drain_remaining_seconds",
    "Longest time until the worker ends, in seconds; 0 while it is not draining.",
    "Above terminationGracePeriodSeconds of the pod: calls will be cut off.",
)
LOAD: Final = _gauge(
    "vsdk_trio_load_ratio",
    "The load that the worker reports, from 0 to 1.",
    "Above the threshold the worker refuses offers, if load_fnc is set.",
)
LOAD_THRESHOLD: Final = _gauge(
    "vsdk_trio_load_threshold_ratio",
    "Options.load_threshold.",
    "Draw it beside the load.",
)
SLOTS: Final = _gauge(
    "vsdk_trio_slots",
    "Slots for jobs by use; their sum is max_processes.",
    "No free slot for long: add workers. Many promised: see expired promises.",
    Label("use", ("free", "promised", "running")),
)
JOBS: Final = _gauge(
    "vsdk_trio_jobs",
    "Jobs that have not ended, by state.",
    "assigned or starting for long: no process is free. stopping: jobs do not stop.",
    Label("state", LIVE_STATES),
)
PROCESSES: Final = _gauge(
    "vsdk_trio_processes",
    "Job processes by state.",
    "No idle process while jobs arrive: each waits for a cold start.",
    Label("state", PROCESS_STATES),
)
IDLE_TARGET: Final = _gauge(
    "vsdk_trio_processes_idle_target",
    "Options.num_idle_processes.",
    "Draw it beside the idle processes.",
)
MEMORY: Final = _gauge(
    "vsdk_trio_job_processes_memory_bytes",
    "Memory of all job processes together.",
    "It grows while the number of jobs does not: a memory leak in the agent.",
)
MEMORY_MAX: Final = _gauge(
    "vsdk_trio_job_process_memory_max_bytes",
    "Memory of the largest job process.",
    "Near memory_limit_mb: that job will fail soon.",
)
LAG_MAX: Final = _gauge(
    "vsdk_trio_job_loop_lag_max_seconds",
    "The longest step in the event loop of any job, from the last heartbeats.",
    "Above 0.1 s a caller hears it now; /debug/runners/ shows the job.",
)
UNSENT: Final = _gauge(
    "vsdk_trio_outbox_messages",
    "Messages in the outbox that have not been sent.",
    "It grows: there is no session, or the registry does not read.",
)
OWED: Final = _gauge(
    "vsdk_trio_updates_owed",
    "Job updates that the registry has not acknowledged.",
    "Above 0 for minutes: the registry may not know how jobs ended; a drain waits for this.",
)
SESSION: Final = _gauge(
    "vsdk_trio_session_number",
    "Number of the current or last session with the registry; 0 before the first.",
    "It grows: the worker reconnects.",
)
STARTED: Final = _gauge(
    "vsdk_trio_start_time_seconds",
    "Start time of the worker, as Unix time.",
    "A change means a restart.",
)
WORKER: Final = Family(
    name="vsdk_trio_worker_info",
    kind="info",
    help="The worker's agent id, and its id at the registry; the value is 1.",
    labels=(Label("agent_id", ()), Label("worker_id", ())),
    when="For joins, and to find the worker in the registry.",
)


def _slots(view: WorkerView) -> _Values:
    running, promised = len(view.jobs), view.promised
    free = max(0, view.max_processes - running - promised)
    return {("free",): free, ("promised",): promised, ("running",): running}


def _by_state(states: Iterable[str], among: Iterable[str]) -> _Values:
    counted = Counter(states)
    return {(state,): counted[state] for state in among}


_READ: Final[tuple[tuple[Family, Callable[[WorkerView], _Values]], ...]] = (
    (REGISTERED, lambda view: view.is_connected),
    (READY, lambda view: not view.reasons_not_ready),
    (PROBLEMS, lambda view: len(view.problems)),
    (WARNINGS, lambda view: len(view.warnings)),
    (DRAINING, lambda view: view.drain is not None),
    (DRAIN_SECONDS, lambda view: 0.0 if view.drain is None else view.drain.at_most_seconds),
    (LOAD, lambda view: view.load),
    (LOAD_THRESHOLD, lambda view: view.load_threshold),
    (SLOTS, _slots),
    (JOBS, lambda view: _by_state((job.state for job in view.jobs), LIVE_STATES)),
    (PROCESSES, lambda view: _by_state((p.state for p in view.processes), PROCESS_STATES)),
    (IDLE_TARGET, lambda view: view.num_idle_processes),
    (MEMORY, lambda view: _MIB * sum(p.memory_mb or 0.0 for p in view.processes)),
    (MEMORY_MAX, lambda view: _MIB * max((p.memory_mb or 0.0 for p in view.processes), default=0)),
    (LAG_MAX, lambda view: max((p.lag_seconds or 0.0 for p in view.processes), default=0.0)),
    (UNSENT, lambda view: view.unsent),
    (OWED, lambda view: view.owed),
    (SESSION, lambda view: view.sessions),
    (STARTED, lambda view: view.started_at),
)


def read_worker(view: WorkerView) -> tuple[Reading, ...]:
    """Every gauge of a worker that looks like this, and who it is."""
    readings = [
        Reading(family, values if isinstance(values, Mapping) else {(): float(values)})
        for family, values in ((family, read(view)) for family, read in _READ)
    ]
    return (*readings, read_build(), Reading(WORKER, {(view.agent_id, view.worker_id): 1.0}))
