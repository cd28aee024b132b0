"""The registry's record of jobs: every open one, the last ended ones, and workers' updates.

Pure. Holds values and bounds their number; knows nothing of workers' availability, of offers or of
what makes a job change: that is the dispatcher.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs


class LedgerState(enum.Enum):
    """Where a job stands, as the registry knows it."""

    PENDING = "pending"
    OFFERED = "offered"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for the three states in which nothing more is expected of the job."""
        return self in _ENDED


_ENDED = frozenset({LedgerState.COMPLETED, LedgerState.FAILED, LedgerState.CANCELLED})


@attrs.frozen(kw_only=True)
class DispatchRequest:
    """What a dispatch asks for; the content of the later `job_assignment`.

    `timeout` is in seconds. Room options, metadata and tokens are the caller's business, so they
    stay out of `repr`.
    """

    agent_id: str
    room_id: str
    job_type: str = "room"
    room_options: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    metadata: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    wait: bool = False
    timeout: float | None = None

    def without_content(self) -> DispatchRequest:
        """The part that is kept once its worker is known to have the job: nothing large."""
        return attrs.evolve(self, room_options=None, metadata=None)


@attrs.frozen(kw_only=True)
class Asked:
    """An offer that a worker did not take, with its own report at that moment.

    `until` is when it may be asked again without any news of it, `pause` how many seconds that is
    after its answer. Infinite while it has not answered, and if it never did.
    """

    load: float
    job_count: int
    pause: float
    until: float = math.inf


@attrs.frozen(kw_only=True)
class Job:
    """One job at one moment; a new value for every change, so a caller may keep it.

    Times are seconds on the registry's clock. `worker_id` is the worker that has the job, or was
    offered it last. `presumed` is true where the end was concluded from a silence, not reported:
    what the worker says later replaces it. `adopted` jobs were announced by a worker and never
    dispatched here (the registry was restarted in between). `deadline` is when the present state
    is given up, if the registry is waiting for something; of a job that waits for a worker, when
    one may be asked again. `asked` are the workers that did not take it, by id.
    """

    job_id: str
    request: DispatchRequest
    state: LedgerState = LedgerState.PENDING
    worker_id: str | None = None
    error: str | None = None
    presumed: bool = False
    adopted: bool = False
    offers: int = 0
    asked: Mapping[str, Asked] = attrs.field(factory=dict, repr=False)
    terminating: str | None = None
    deadline: float | None = None
    created: float
    assigned: float | None = None
    started: float | None = None
    ended: float | None = None
    participant_identity: str | None = None
    participant_name: str | None = None

    @property
    def agent_id(self) -> str:
        """The agent the job was dispatched to."""
        return self.request.agent_id

    @property
    def room_id(self) -> str:
        """The room the job belongs to; "" for an adopted job."""
        return self.request.room_id


@attrs.frozen(kw_only=True)
class RecordedUpdate:
    """One `job_update` as it came; `applied` says whether it changed or confirmed the record."""

    time: float
    worker_id: str
    job_id: str
    status: str
    error: str | None
    applied: bool


class Ledger:
    """The jobs by id, oldest first, and every update seen, within bounds.

    Open jobs are never dropped; the dispatcher bounds their number.

    Args:
        max_ended: How many ended jobs are kept; the longest ended goes first.
        max_updates: How many updates are kept over all jobs, unknown ones included.
    """

    def __init__(self, *, max_ended: int = 1_000, max_updates: int = 10_000) -> None:
        self._open: dict[str, Job] = {}
        self._ended: dict[str, Job] = {}
        self._max_ended = max_ended
        self._updates: deque[RecordedUpdate] = deque(maxlen=max_updates)
        self._deadlines: list[tuple[float, str]] = []

    @property
    def open_count(self) -> int:
        """How many jobs have not ended."""
        return len(self._open)

    def get(self, job_id: str) -> Job | None:
        """The job as it stands, or None where it was never known or is forgotten."""
        return self._open.get(job_id) or self._ended.get(job_id)

    def open_job(self, job_id: str) -> Job:
        """A job that is known to be open."""
        return self._open[job_id]

    def jobs(self) -> tuple[Job, ...]:
        """All jobs known, in the order of their creation."""
        known = [*self._ended.values(), *self._open.values()]
        return tuple(sorted(known, key=lambda job: job.created))

    def updates(self, job_id: str | None = None) -> tuple[RecordedUpdate, ...]:
        """Every update seen, oldest first; of one job where `job_id` is given."""
        return tuple(u for u in self._updates if job_id is None or u.job_id == job_id)

    def put(self, job: Job) -> None:
        """Store the newest value of a job, dropping the longest ended one if there are too many."""
        self._open.pop(job.job_id, None)
        self._ended.pop(job.job_id, None)
        if not job.state.ended:
            self._open[job.job_id] = job
            if job.deadline is not None:
                heapq.heappush(self._deadlines, (job.deadline, job.job_id))
            return
        self._ended[job.job_id] = job
        while len(self._ended) > self._max_ended:
            del self._ended[next(iter(self._ended))]

    def first_due(self) -> Job | None:
        """The open job with the earliest deadline, or None where nothing is waited for."""
        while self._deadlines:
            deadline, job_id = self._deadlines[0]
            job = self._open.get(job_id)
            if job is not None and job.deadline == deadline:
                return job
            heapq.heappop(self._deadlines)  # outlived: the job has moved on since
        return None

    def record(self, update: RecordedUpdate) -> None:
        """Append one update as it came."""
        self._updates.append(update)
