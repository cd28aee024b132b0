"""Which worker a job is offered to, and what happens when none takes it.

Pure. Knows the ledger and the roster; nothing of what a worker says of a job that it has.
"""

from __future__ import annotations

import attrs

from .actions import Action, DispatchFailure, Ended, Offer, Settled
from .ledger import Job, JobState, Ledger
from .workers import Roster, Worker, least_loaded


@attrs.frozen(kw_only=True)
class Policy:
    """The dispatcher's rules; times in seconds.

    `offer_timeout`: a worker that has not answered an offer by then has refused it.
    `reconnect_grace`: how long the jobs of a lost worker wait for it.
    `patience`: how long a job waits for news from a worker of its agent when none can take it; 0
    fails the dispatch at once, as the hosted registry does.
    `max_open_jobs`: a dispatch beyond it is refused.
    """

    offer_timeout: float = 5.0
    reconnect_grace: float = 60.0
    patience: float = 0.0
    max_open_jobs: int = 10_000


class Placement:
    """Brings jobs to workers; the half of the dispatcher that ends with an answer to an offer."""

    def __init__(self, policy: Policy, ledger: Ledger, roster: Roster) -> None:
        self._policy = policy
        self._ledger = ledger
        self._roster = roster
        self._pending: dict[str, None] = {}
        self._turn = 0

    def place(self, job: Job, now: float) -> list[Action]:
        """Offer the job to the best worker that has not refused it, or wait, or fail."""
        self._pending.pop(job.job_id, None)
        candidates = self._roster.of_agent(job.agent_id)
        worker = least_loaded(w for w in candidates if w.worker_id not in job.tried)
        if worker is not None:
            return self._offer(job, worker, now)
        give_up = job.created + self._policy.patience
        if now >= give_up:
            return self.fail_unplaced(job, now)
        self._ledger.put(attrs.evolve(job, state=JobState.PENDING, deadline=give_up))
        self._pending[job.job_id] = None
        return []

    def _offer(self, job: Job, worker: Worker, now: float) -> list[Action]:
        self._turn += 1
        self._roster.change(worker.worker_id, turn=self._turn)
        self._roster.hold(worker.worker_id, job.job_id)
        offered = attrs.evolve(
            job,
            state=JobState.OFFERED,
            worker_id=worker.worker_id,
            offers=job.offers + 1,
            deadline=now + self._policy.offer_timeout,
        )
        self._ledger.put(offered)
        return [Offer(worker.worker_id, offered)]

    def place_elsewhere(self, job: Job, now: float) -> list[Action]:
        """Place a job that its worker refused or did not answer for."""
        refused = attrs.evolve(job, tried=job.tried | {worker_of(job)})
        return self.place(self._taken_back(refused), now)

    def place_again(self, job: Job, now: float) -> list[Action]:
        """Place a job whose worker was lost before it answered; it has not refused it."""
        return self.place(self._taken_back(job), now)

    def _taken_back(self, job: Job) -> Job:
        self._roster.let_go(worker_of(job), job.job_id)
        return attrs.evolve(job, worker_id=None, state=JobState.PENDING, deadline=None)

    def fail_unplaced(self, job: Job, now: float) -> list[Action]:
        """There is no worker left to ask, and no patience: the dispatch fails."""
        failure = (
            DispatchFailure.NO_WORKERS_AVAILABLE
            if self._roster.of_agent(job.agent_id)
            else DispatchFailure.NO_WORKERS_REGISTERED
        )
        return self.end(job, JobState.FAILED, failure.value, now, failure)

    def end(
        self,
        job: Job,
        state: JobState,
        error: str | None,
        now: float,
        failure: DispatchFailure | None = None,
        *,
        presumed: bool = False,
    ) -> list[Action]:
        """End the job; its payload goes, so that the history stays small."""
        ended = attrs.evolve(
            job,
            state=state,
            error=error,
            presumed=presumed,
            deadline=None,
            ended=now,
            request=job.request.without_content(),
        )
        self._ledger.put(ended)
        if job.worker_id is not None:
            self._roster.let_go(job.worker_id, job.job_id)
        settled: list[Action] = [] if failure is None else [Settled(ended, failure)]
        return [*settled, Ended(ended)]

    def retry_pending(self, worker: Worker, now: float) -> list[Action]:
        """There is news of this worker: it may be asked again for what waits."""
        actions: list[Action] = []
        for job_id in tuple(self._pending):
            job = self._ledger.get(job_id)
            if job is None or job.state is not JobState.PENDING:
                del self._pending[job_id]  # it has ended while it waited
            elif job.agent_id == worker.agent_id:
                again = attrs.evolve(job, tried=job.tried - {worker.worker_id})
                actions += self.place(again, now)
        return actions


def worker_of(job: Job) -> str:
    """The worker of a job that has one."""
    assert job.worker_id is not None
    return job.worker_id
