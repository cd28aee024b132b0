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
    "0 for a minute: nobody can call this worker; see failed attempts.",
)
READY: Final = _gauge(
    "vsdk_trio_ready",
    "1 while /readyz is 200: registered, able to start job processes, and not on its way out.",
    "0 and not draining: see registered. Where that is 1, no job process comes up: see /readyz.",
)
PROBLEMS: Final = _gauge(
    "vsdk_trio_health_problems",
    "Reasons for which /health is 503.",
    "Any: /health has them in words.",
)
WARNINGS: Final = _gauge(
    "vsdk_trio_health_warnings",
    "Warnings in /health: the worker works, and somebody should look.",
    "Any: /health has them in words.",
)
DRAINING: Final = _gauge(
    "vsdk_trio_draining",
    "1 from when the worker takes nothing new because it is about to end, else 0.",
    "Unexpected: somebody or something has sent it SIGTERM.",
)
DRAIN_SECONDS: Final = _gauge(
    "vsdk_trio_drain_remaining_seconds",
    "How much longer the end of the worker may take at most; 0 while it is not draining.",
    "Above the terminationGracePeriodSeconds of the pod: calls will be cut off.",
)
LOAD: Final = _gauge(
    "vsdk_trio_load_ratio",
    "The load that the registry is told, from 0 to 1.",
    "Above the threshold offers are refused, where there is a load_fnc.",
)
LOAD_THRESHOLD: Final = _gauge(
    "vsdk_trio_load_threshold_ratio",
    "Options.load_threshold.",
    "To be drawn beside the load.",
)
SLOTS: Final = _gauge(
    "vsdk_trio_slots",
    "Slots for jobs by use; together they are max_processes.",
    "None free for long: more workers. Many promised: see expired promises.",
    Label("use", ("free", "promised", "running")),
)
JOBS: Final = _gauge(
    "vsdk_trio_jobs",
    "Live jobs by state.",
    "assigned or starting for long: no process for them; stopping: jobs that do not stop.",
    Label("state", LIVE_STATES),
)
PROCESSES: Final = _gauge(
    "vsdk_trio_processes",
    "Job processes by state.",
    "None idle while jobs come: each waits for a cold start.",
    Label("state", PROCESS_STATES),
)
IDLE_TARGET: Final = _gauge(
    "vsdk_trio_processes_idle_target",
    "Options.num_idle_processes.",
    "To be drawn beside the idle processes.",
)
MEMORY: Final = _gauge(
    "vsdk_trio_job_processes_memory_bytes",
    "What all job processes together occupy.",
    "Grows while the number of jobs does not: a leak in the agent.",
)
MEMORY_MAX: Final = _gauge(
    "vsdk_trio_job_process_memory_max_bytes",
    "What the biggest job process occupies.",
    "Near memory_limit_mb: that job is about to fail.",
)
LAG_MAX: Final = _gauge(
    "vsdk_trio_job_loop_lag_max_seconds",
    "The longest step in an event loop, of all live jobs, by their last signs of life.",
    "Above 0.1 s somebody hears it now; /debug/runners/ says who.",
)
UNSENT: Final = _gauge(
    "vsdk_trio_outbox_messages",
    "Messages that wait in the outbox to be sent.",
    "Grows: there is no session, or the registry does not read.",
)
OWED: Final = _gauge(
    "vsdk_trio_updates_owed",
    "Job updates that the registry is not known to have.",
    "Above 0 for minutes: the registry does not know how jobs ended; a drain waits for it.",
)
SESSION: Final = _gauge(
    "vsdk_trio_session_number",
    "The number of the current session with the registry, or of the last; 0 before the first.",
    "Climbs: reconnects.",
)
STARTED: Final = _gauge(
    "vsdk_trio_start_time_seconds",
    "When the worker began, as Unix time.",
    "Changes: it was restarted.",
)
WORKER: Final = Family(
    name="vsdk_trio_worker_info",
    kind="info",
    help="The agent that the worker serves, and the id that the registry gave it; the value is 1.",
    labels=(Label("agent_id", ()), Label("worker_id", ())),
    when="To join with, and to find the worker in the registry.",
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
