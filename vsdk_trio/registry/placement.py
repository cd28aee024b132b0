"""Which worker a job is offered to, and what happens when none takes it.

A worker that refused a job is asked for it again when there is news that can change its mind: it
registered, a job of its ended, it no longer calls itself draining, or it reports fewer jobs, or
less load by `LOAD_STEP`, than when it was asked. Without news it is asked after a pause, which
doubles with every refusal. That it is full while it decides, and then free again, is no news: else
offers and refusals would go round as fast as the wire allows. One that let its offer expire may
have stopped: it is asked again after a sign of life only. No worker is asked twice once the
job's `queue_timeout` is over.

Pure. Knows the ledger and the roster; nothing of what a worker says of a job that it has.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from ..system.backoff import next_delay
from .actions import Action, DispatchFailure, Ended, Offer, Settled
from .ledger import Asked, Job, Ledger, LedgerState
from .roster import RegisteredWorker, Roster

LOAD_STEP: Final = 0.1
"""Less of a difference says nothing new: a load that is measured is never twice the same."""


@attrs.frozen(kw_only=True)
class Policy:
    """The dispatcher's rules; times in seconds.

    `offer_timeout`: a worker that has not answered an offer by then has refused it.
    `reconnect_grace`: how long the jobs of a lost worker wait for it.
    `queue_timeout`: how long a job waits for a worker of its agent when none can take it; 0 fails
    the dispatch at once, as the hosted registry does.
    `first_pause`, `longest_pause`: how long a worker that refused a job is not asked for it again
    without news of the worker; the pause doubles from the first to the longest.
    `max_open_jobs`: a dispatch beyond it is refused.
    """

    offer_timeout: float = 5.0
    reconnect_grace: float = 60.0
    queue_timeout: float = 0.0
    first_pause: float = 1.0
    longest_pause: float = 5.0
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
        """Offer the job to the best worker that may be asked, or wait, or fail."""
        for worker in self._roster.candidates(job.agent_id):
            if self._may_be_asked(worker, job, now):
                return self._offer(job, worker, now)
        give_up = self._give_up(job)
        if now >= give_up:
            return self.fail_unplaced(job, now)
        pauses = (asked.until for who, asked in job.asked.items() if self._roster.is_linked(who))
        deadline = min((until for until in pauses if until > now), default=give_up)
        self._ledger.put(
            attrs.evolve(job, state=LedgerState.PENDING, deadline=min(deadline, give_up))
        )
        self._pending[job.job_id] = None
        return []

    def place_waiting(self, job: Job, now: float) -> list[Action]:
        """A job that waits is due: there is a worker to ask again, or no more time."""
        if now >= self._give_up(job):
            return self.fail_unplaced(job, now)
        return self.place(job, now)

    def _give_up(self, job: Job) -> float:
        return job.created + self._policy.queue_timeout

    def _may_be_asked(self, worker: RegisteredWorker, job: Job, now: float) -> bool:
        asked = job.asked.get(worker.worker_id)
        return asked is None or asked.until <= now < self._give_up(job)

    def _offer(self, job: Job, worker: RegisteredWorker, now: float) -> list[Action]:
        self._turn += 1
        self._pending.pop(job.job_id, None)
        self._roster.change(worker.worker_id, turn=self._turn)
        self._roster.hold(worker.worker_id, job.job_id)
        before = job.asked.get(worker.worker_id)
        pause = next_delay(
            0.0 if before is None else before.pause,
            first=self._policy.first_pause,
            longest=self._policy.longest_pause,
        )
        asked = Asked(
            load=worker.load,
            job_count=worker.job_count,
            pause=pause,
        )
        offered = attrs.evolve(
            job,
            state=LedgerState.OFFERED,
            worker_id=worker.worker_id,
            offers=job.offers + 1,
            asked={**job.asked, worker.worker_id: asked},
            deadline=now + self._policy.offer_timeout,
        )
        self._ledger.put(offered)
        return [Offer(worker.worker_id, offered)]

    def place_elsewhere(self, job: Job, now: float) -> list[Action]:
        """Place a job that its worker refused or did not answer for."""
        worker = self._roster.linked(worker_of(job))
        asked = job.asked[worker.worker_id]
        if not worker.is_silent:
            asked = attrs.evolve(asked, until=now + asked.pause)
        refused = attrs.evolve(job, asked={**job.asked, worker.worker_id: asked})
        return self.place(self._taken_back(refused), now)

    def place_again(self, job: Job, now: float) -> list[Action]:
        """Place a job whose worker was lost before it answered; it has not refused it."""
        others = {who: asked for who, asked in job.asked.items() if who != job.worker_id}
        return self.place(self._taken_back(attrs.evolve(job, asked=others)), now)

    def _taken_back(self, job: Job) -> Job:
        self._roster.let_go(worker_of(job), job.job_id)
        return attrs.evolve(job, worker_id=None, state=LedgerState.PENDING, deadline=None)

    def fail_unplaced(self, job: Job, now: float) -> list[Action]:
        """There is no worker left to ask, and no time: the dispatch fails."""
        failure = (
            DispatchFailure.NO_WORKERS_AVAILABLE
            if self._roster.has_link(job.agent_id)
            else DispatchFailure.NO_WORKERS_REGISTERED
        )
        return self.end(job, LedgerState.FAILED, failure.value, now, failure)

    def end(
        self,
        job: Job,
        state: LedgerState,
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
            asked={},
            request=job.request.without_content(),
        )
        self._ledger.put(ended)
        self._pending.pop(job.job_id, None)
        if job.worker_id is not None:
            self._roster.let_go(job.worker_id, job.job_id)
        settled: list[Action] = [] if failure is None else [Settled(ended, failure)]
        return [*settled, Ended(ended)]

    def retry_pending(self, worker_id: str, now: float, *, is_news: bool) -> list[Action]:
        """Offer waiting jobs to the worker, if it may be asked for them.

        `is_news` means that it may now take a job that it has refused. Otherwise its report shows
        whether it may.
        """
        actions: list[Action] = []
        for job_id in tuple(self._pending):
            job = self._ledger.open_job(job_id)
            worker = self._roster.linked(worker_id)  # as it is now: it may have got one of them
            if job.agent_id != worker.agent_id:
                continue
            asked = job.asked.get(worker_id)
            if asked is not None and (is_news or _has_news(worker, asked)):
                again = attrs.evolve(asked, until=min(asked.until, now))
                job = attrs.evolve(job, asked={**job.asked, worker_id: again})
                self._ledger.put(job)
            # Of the others there is no news: to look at all of them, for every job and at every
            # report, is what a registry with many of each would do all day.
            if worker.is_taking and self._may_be_asked(worker, job, now):
                actions += self.place(job, now)
        return actions


def _has_news(worker: RegisteredWorker, asked: Asked) -> bool:
    """Whether it has become freer since it was asked; any sign of a silent worker is news."""
    return (
        math.isinf(asked.until)
        or worker.job_count < asked.job_count
        or worker.load <= asked.load - LOAD_STEP
    )


def worker_of(job: Job) -> str:
    """The worker of a job that has one."""
    assert job.worker_id is not None
    return job.worker_id
