"""A registry's observations and metrics.

Turns decisions into observations, counts observations, and measures gauges at the moment of a
scrape. Knows workers and jobs as values; neither HTTP nor when anything is asked.
"""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..telemetry.events import registry as seen
from ..telemetry.events.registry import DispatchSettled, JobEnded
from ..telemetry.metrics.own_process import read_build
from ..telemetry.metrics.tallies import (
    FAST_BUCKETS,
    SLOW_BUCKETS,
    Counter,
    Family,
    Histogram,
    Key,
    Label,
    Reading,
)
from .actions import DispatchFailure
from .ledger import Job, LedgerState
from .roster import RegisteredWorker


def settled(failure: DispatchFailure | None, job: Job | None, now: float) -> DispatchSettled:
    """A dispatch is decided; `job` is None where there never was one."""
    return DispatchSettled(
        job_id=None if job is None else job.job_id,
        failure=None if failure is None else failure.value,
        seconds=0.0 if job is None else now - job.created,
    )


def ended(job: Job, now: float) -> JobEnded:
    """A job has ended, or the record of its end was corrected."""
    until_running = None
    if job.assigned is not None and job.started is not None:
        until_running = job.started - job.assigned
    return JobEnded(
        job_id=job.job_id,
        state=job.state.value,
        is_presumed=job.presumed,
        until_running_seconds=until_running,
        seconds=(now if job.ended is None else job.ended) - job.created,
    )


_ENDS: Final = tuple(state.value for state in LedgerState if state.ended)
_LIVE: Final = tuple(state.value for state in LedgerState if not state.ended)
_FRAME_KINDS: Final = (
    *("malformed", "before register", "after its end", "unknown type"),
    *("overlong job id", "register out of place"),
)

DISPATCHES: Final = Family(
    name="vsdk_trio_registry_dispatches_total",
    kind="counter",
    help="Decided dispatches: assigned, or the reason of the failure.",
    labels=(Label("outcome", ("assigned", *(f.value.lower() for f in DispatchFailure))),),
    when=(
        "no_workers_available: all workers are full; add some. no_workers_registered: none is "
        "connected. agent_not_deployed: no worker ever had this agent id; check its spelling."
    ),
)
DISPATCH_SECONDS: Final = Family(
    name="vsdk_trio_registry_dispatch_seconds",
    kind="histogram",
    help="Time from a dispatch until a worker accepted the job, in seconds.",
    buckets=FAST_BUCKETS,
    when="Workers refuse offers or do not answer; compare offers made with dispatches.",
)
RUNNING_SECONDS: Final = Family(
    name="vsdk_trio_registry_assigned_to_running_seconds",
    kind="histogram",
    help="Time from an assignment until the job was reported as running, in seconds.",
    buckets=FAST_BUCKETS,
    when="Too few idle processes on the workers; see their dispatch stages. Counted at the end.",
)
JOB_SECONDS: Final = Family(
    name="vsdk_trio_registry_job_duration_seconds",
    kind="histogram",
    help="Time from a dispatch to the job's end, in seconds.",
    labels=(Label("state", _ENDS),),
    buckets=SLOW_BUCKETS,
    when="Many short failed jobs: the agent crashes at its start.",
)
JOBS_ENDED: Final = Family(
    name="vsdk_trio_registry_jobs_ended_total",
    kind="counter",
    help="Jobs that have ended; presumed if their worker was lost and has not reported since.",
    labels=(Label("state", _ENDS), Label("presumed", ("false", "true"))),
    series=(*((state, "false") for state in _ENDS), ("failed", "true")),
    when="presumed: workers disappear while they run jobs.",
)
OFFERS_MADE: Final = Family(
    name="vsdk_trio_registry_offers_made_total",
    kind="counter",
    help="Offers sent to workers.",
    when="Many more than dispatches: workers refuse offers or do not answer.",
)
OFFERS_DECIDED: Final = Family(
    name="vsdk_trio_registry_offers_decided_total",
    kind="counter",
    help="Answers of workers to offers.",
    labels=(Label("answer", ("yes", "no")),),
    when="no: see the workers' refused offers for their reasons.",
)
TERMINATIONS: Final = Family(
    name="vsdk_trio_registry_terminations_sent_total",
    kind="counter",
    help="Terminations sent to workers.",
    when="For rates.",
)
WORKERS_JOINED: Final = Family(
    name="vsdk_trio_registry_workers_joined_total",
    kind="counter",
    help="Registrations, of new and of known workers.",
    labels=(Label("worker", ("new", "known")),),
    when="known: reconnects, see the workers' lost sessions.",
)
WORKERS_LEFT: Final = Family(
    name="vsdk_trio_registry_workers_left_total",
    kind="counter",
    help="Registered workers that disconnected.",
    when="For rates; compare with joined.",
)
WORKERS_REFUSED: Final = Family(
    name="vsdk_trio_registry_workers_refused_total",
    kind="counter",
    help="Registrations that were refused.",
    when="A wrong token or an invalid agent_id; the log has the reason.",
)
FRAMES_IGNORED: Final = Family(
    name="vsdk_trio_registry_frames_ignored_total",
    kind="counter",
    help="Frames from workers that the registry ignored, by kind.",
    labels=(Label("kind", _FRAME_KINDS),),
    when="malformed: a program that is not a worker connects.",
)
WORKERS: Final = Family(
    name="vsdk_trio_registry_workers",
    kind="gauge",
    help="Connected workers, and disconnected ones whose jobs have not ended.",
    labels=(Label("link", ("present", "away")),),
    when="None present: no job can be dispatched.",
)
JOBS: Final = Family(
    name="vsdk_trio_registry_jobs",
    kind="gauge",
    help="Jobs that have not ended, by state; the queue is pending and offered.",
    labels=(Label("state", _LIVE),),
    when="pending for long: no worker has a free slot.",
)
CAPACITY: Final = Family(
    name="vsdk_trio_registry_capacity",
    kind="gauge",
    help="Slots of all connected workers that have reported their number.",
    when="Draw it beside the jobs.",
)


class RegistryTallies:
    """One registry's counters and histograms; called with every `RegistryObservation`."""

    def __init__(self) -> None:
        counters = {family: Counter(family) for family in _COUNTERS}
        histograms = {family: Histogram(family) for family in _HISTOGRAMS}
        self._counters, self._histograms = counters.values(), histograms.values()

        def settled(dispatch: seen.DispatchSettled) -> None:
            counters[DISPATCHES].add((dispatch.failure or "assigned").lower())
            if dispatch.failure is None:
                histograms[DISPATCH_SECONDS].add(dispatch.seconds)

        def ended(job: seen.JobEnded) -> None:
            counters[JOBS_ENDED].add(job.state, str(job.is_presumed).lower())
            histograms[JOB_SECONDS].add(job.seconds, job.state)
            if job.until_running_seconds is not None:
                histograms[RUNNING_SECONDS].add(job.until_running_seconds)

        def joined(worker: seen.WorkerJoined) -> None:
            counters[WORKERS_JOINED].add("known" if worker.is_known else "new")

        def decided(offer: seen.OfferDecided) -> None:
            counters[OFFERS_DECIDED].add("yes" if offer.is_accepted else "no")

        self._count: dict[type[Any], Callable[[Any], None]] = {
            seen.DispatchSettled: settled,
            seen.JobEnded: ended,
            seen.WorkerJoined: joined,
            seen.OfferDecided: decided,
            seen.OfferMade: lambda _: counters[OFFERS_MADE].add(),
            seen.TerminationSent: lambda _: counters[TERMINATIONS].add(),
            seen.WorkerLeft: lambda _: counters[WORKERS_LEFT].add(),
            seen.WorkerRefused: lambda _: counters[WORKERS_REFUSED].add(),
            seen.WorkerFrameIgnored: lambda frame: counters[FRAMES_IGNORED].add(frame.kind),
        }

    def __call__(self, observation: seen.RegistryObservation) -> None:
        """Count it."""
        self._count[type(observation)](observation)

    def read(self) -> tuple[Reading, ...]:
        """Everything that has been counted so far."""
        counted = (counter.read() for counter in self._counters)
        return (*counted, *(histogram.read() for histogram in self._histograms))


_COUNTERS: Final = (
    *(DISPATCHES, JOBS_ENDED, OFFERS_MADE, OFFERS_DECIDED, TERMINATIONS),
    *(WORKERS_JOINED, WORKERS_LEFT, WORKERS_REFUSED, FRAMES_IGNORED),
)
_HISTOGRAMS: Final = (DISPATCH_SECONDS, RUNNING_SECONDS, JOB_SECONDS)


def read_registry(workers: Iterable[RegisteredWorker], jobs: Iterable[Job]) -> tuple[Reading, ...]:
    """Every gauge of a registry that has these workers and jobs."""
    workers = tuple(workers)
    present = [worker for worker in workers if not worker.away]
    states = Count(job.state.value for job in jobs)
    links: dict[Key, float] = {
        ("present",): float(len(present)),
        ("away",): float(len(workers) - len(present)),
    }
    return (
        Reading(WORKERS, links),
        Reading(CAPACITY, {(): float(sum(worker.capacity or 0 for worker in present))}),
        Reading(JOBS, {(state,): float(states[state]) for state in _LIVE}),
        read_build(),
    )
