"""Which worker gets a job, and what becomes of the job then.

Pure: events and `now` come in, actions come out; the state is in the ledger and the roster. Knows
no links, no frames and no clock.

    PENDING -> OFFERED -> ASSIGNED -> RUNNING -> COMPLETED | FAILED | CANCELLED
       ^          |
       +----------+   refused, not answered in time, or its worker lost

A worker that refused a job is asked again after news of it, or a pause: see `placement`.

What a lost worker held: an offered job goes to the next worker at once. An assigned or running one
is kept for `reconnect_grace`, for the same worker id to come back and say how it stands; after that
it is *presumed* failed ("worker lost"), and a later update of that worker replaces the presumption.
"""

from __future__ import annotations

import attrs

from ..errors import IllegalTransitionError
from ..protocol.vocabulary import JobFact, read_job_status
from .actions import (
    Action,
    Assign,
    DispatchError,
    DispatchFailure,
    Settled,
    Terminate,
    UnknownJobError,
)
from .ledger import DispatchRequest, Job, Ledger, LedgerState, RecordedUpdate
from .placement import Placement, Policy, worker_of
from .roster import RegisteredWorker, Roster

WORKER_LOST = "worker lost"

_STATE_OF_FACT = {
    JobFact.RUNNING: LedgerState.RUNNING,
    JobFact.COMPLETED: LedgerState.COMPLETED,
    JobFact.FAILED: LedgerState.FAILED,
    JobFact.CANCELLED: LedgerState.CANCELLED,
}


class Dispatcher:
    """The life of every job, from the dispatch to its end. See the module for the rules."""

    def __init__(self, policy: Policy, ledger: Ledger, roster: Roster) -> None:
        self._policy = policy
        self._ledger = ledger
        self._roster = roster
        self._placement = Placement(policy, ledger, roster)

    # -- what callers ask ------------------------------------------------------------------------

    def dispatch(self, job_id: str, request: DispatchRequest, now: float) -> list[Action]:
        """Find a worker for a new job. Raises `DispatchError` where there is no worker to ask."""
        if not self._roster.has_served(request.agent_id):
            raise DispatchError(DispatchFailure.AGENT_NOT_DEPLOYED)
        if not self._roster.has_link(request.agent_id):
            raise DispatchError(DispatchFailure.NO_WORKERS_REGISTERED)
        if self._ledger.open_count >= self._policy.max_open_jobs:
            raise DispatchError(DispatchFailure.TOO_MANY_JOBS)
        if self._ledger.get(job_id) is not None:
            raise IllegalTransitionError(f"there is a job {job_id!r} already")
        return self._placement.place(Job(job_id=job_id, request=request, created=now), now)

    def terminate(
        self,
        job_id: str,
        reason: str,
        now: float,
        *,
        failure: DispatchFailure = DispatchFailure.TERMINATED,
    ) -> list[Action]:
        """Stop a job: at once while no worker has it, through its worker otherwise.

        `failure` is the outcome of its dispatch, if that is not decided yet. A job that has ended
        stays as it is. A worker that is away gets the order when it comes back.
        Raises `UnknownJobError`.
        """
        job = self._ledger.get(job_id)
        if job is None:
            raise UnknownJobError(f"no job {job_id!r}")
        if job.state.ended:
            return []
        if job.state in (LedgerState.PENDING, LedgerState.OFFERED):
            return self._placement.end(job, LedgerState.CANCELLED, reason, now, failure)
        self._ledger.put(attrs.evolve(job, terminating=reason))
        worker = self._roster.get(worker_of(job))
        if worker is None or worker.away:
            return []
        return [Terminate(worker.worker_id, job_id, reason)]

    # -- what workers do -------------------------------------------------------------------------

    def worker_joined(self, worker: RegisteredWorker, now: float) -> list[Action]:
        """Take a registration: of a new worker, of one that was away, or over a stale link."""
        known = self._roster.get(worker.worker_id)
        offered = [] if known is None or known.away else self._set_away(known, now)
        joined = self._roster.join(worker)
        actions: list[Action] = []
        for job in self._held_by(joined):
            if job.state is not LedgerState.OFFERED:
                actions += self._resume(job, joined)
        for job in offered:
            actions += self._placement.place_again(job, now)
        return actions + self._placement.retry_pending(worker.worker_id, now, is_news=True)

    def worker_lost(self, worker_id: str, now: float) -> list[Action]:
        """The worker's link is gone. Raises `IllegalTransitionError` where it had none."""
        actions: list[Action] = []
        for job in self._set_away(self._roster.linked(worker_id), now):
            actions += self._placement.place_again(job, now)
        return actions

    def worker_reported(
        self, worker_id: str, *, status: str, load: float, job_count: int, now: float
    ) -> list[Action]:
        """Take a worker's own report; impossible values (a negative load) are clamped."""
        was_closed = self._roster.linked(worker_id).is_closed
        self._roster.change(
            worker_id, status=status, load=max(0.0, load), job_count=max(0, job_count)
        )
        return self._placement.retry_pending(worker_id, now, is_news=was_closed)

    def offer_answered(
        self, worker_id: str, job_id: str, *, available: bool, now: float
    ) -> list[Action]:
        """Take the answer to an offer. A late or unexpected answer decides nothing."""
        if self._roster.linked(worker_id).is_silent:
            self._roster.change(worker_id, is_silent=False)
        job = self._ledger.get(job_id)
        if job is None or job.state is not LedgerState.OFFERED or job.worker_id != worker_id:
            # The job was withdrawn meanwhile: its slot is free for another waiting job.
            return self._placement.retry_pending(worker_id, now, is_news=False)
        if not available:
            actions = self._placement.place_elsewhere(job, now)
            # The slot is free again, perhaps for a job that waits because the worker was full.
            return actions + self._placement.retry_pending(worker_id, now, is_news=False)
        assigned = attrs.evolve(job, state=LedgerState.ASSIGNED, assigned=now, deadline=None)
        self._ledger.put(assigned)
        return [Assign(worker_id, assigned), Settled(assigned)]

    def job_updated(
        self,
        worker_id: str,
        job_id: str,
        *,
        status: str,
        error: str | None = None,
        participant_identity: str | None = None,
        participant_name: str | None = None,
        now: float,
    ) -> list[Action]:
        """What the worker says of a job; recorded always, applied where it is its job to say so.

        The first terminal update stands (only a presumed end is replaced), a repeated one changes
        nothing. `running` for an unknown job is believed within the worker's capacity: the
        worker is the one that knows, and a registry that was restarted does not.
        """
        worker = self._roster.linked(worker_id)
        fact = read_job_status(status, error)
        job = None if fact is None else self._job_it_may_update(worker, job_id, fact, now)
        update = RecordedUpdate(
            time=now,
            worker_id=worker_id,
            job_id=job_id,
            status=status,
            error=error,
            applied=job is not None,
        )
        self._ledger.record(update)
        if job is None or fact is None:
            return []
        known = attrs.evolve(
            job,
            participant_identity=participant_identity or job.participant_identity,
            participant_name=participant_name or job.participant_name,
        )
        if fact is JobFact.RUNNING:
            return self._set_running(known, now)
        actions = self._placement.end(known, _STATE_OF_FACT[fact], error, now)
        return actions + self._placement.retry_pending(worker_id, now, is_news=True)

    # -- what time does --------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next, or None."""
        job = self._ledger.first_due()
        return None if job is None else job.deadline

    def tick(self, now: float) -> list[Action]:
        """End waits whose deadline is over."""
        actions: list[Action] = []
        while (job := self._ledger.first_due()) is not None:
            if job.deadline is None or job.deadline > now:
                break
            if job.state is LedgerState.OFFERED:
                self._roster.change(worker_of(job), is_silent=True)
                actions += self._placement.place_elsewhere(job, now)
            elif job.state is LedgerState.PENDING:
                actions += self._placement.place_waiting(job, now)
            else:
                actions += self._placement.end(
                    job, LedgerState.FAILED, WORKER_LOST, now, presumed=True
                )
        return actions

    # -- inside ----------------------------------------------------------------------------------

    def _set_running(self, job: Job, now: float) -> list[Action]:
        """The job runs, whatever was presumed; if it should stop, the order is sent again."""
        worker_id = worker_of(job)
        running = attrs.evolve(
            job,
            state=LedgerState.RUNNING,
            request=job.request.without_content(),
            error=None,
            presumed=False,
            deadline=None,
            started=now if job.started is None else job.started,
            ended=None,
        )
        self._ledger.put(running)
        self._roster.hold(worker_id, job.job_id)
        if job.presumed and job.terminating is not None:
            return [Terminate(worker_id, job.job_id, job.terminating)]
        return []

    def _job_it_may_update(
        self, worker: RegisteredWorker, job_id: str, fact: JobFact, now: float
    ) -> Job | None:
        """The job, if this worker may report this of it; None otherwise."""
        job = self._ledger.get(job_id)
        if job is not None:
            has_it = job.state in (LedgerState.ASSIGNED, LedgerState.RUNNING) or job.presumed
            return job if has_it and job.worker_id == worker.worker_id else None
        has_room = worker.adoptable > 0 and self._ledger.open_count < self._policy.max_open_jobs
        if fact is not JobFact.RUNNING or not has_room:
            return None
        return Job(
            job_id=job_id,
            request=DispatchRequest(agent_id=worker.agent_id, room_id=""),
            worker_id=worker.worker_id,
            adopted=True,
            created=now,
        )

    def _set_away(self, worker: RegisteredWorker, now: float) -> list[Job]:
        """Its link is gone: start the grace of its running jobs; return its offered jobs."""
        held = self._held_by(worker)
        grace_end = now + self._policy.reconnect_grace
        for job in held:
            if job.state is not LedgerState.OFFERED:
                self._ledger.put(attrs.evolve(job, deadline=grace_end))
        self._roster.change(worker.worker_id, away=True)
        return [job for job in held if job.state is LedgerState.OFFERED]

    def _resume(self, job: Job, worker: RegisteredWorker) -> list[Action]:
        """Its worker is back: what it may have missed is sent again.

        An assignment that was cut off on its way would otherwise be lost; a worker that has it
        answers with the job's status. The published client neither announces what it runs nor
        bears an assignment twice: there, that the same id came back is all there is to know.
        """
        if job.state is LedgerState.RUNNING and not worker.reannounces:
            self._ledger.put(attrs.evolve(job, deadline=None))
        if job.terminating is not None:
            return [Terminate(worker.worker_id, job.job_id, job.terminating)]
        if job.state is LedgerState.ASSIGNED and worker.reannounces:
            return [Assign(worker.worker_id, job)]
        return []

    def _held_by(self, worker: RegisteredWorker) -> list[Job]:
        """The jobs on a worker, oldest first: the order of frames must not depend on hashing."""
        jobs = [job for job_id in worker.jobs if (job := self._ledger.get(job_id)) is not None]
        return sorted(jobs, key=lambda job: (job.created, job.job_id))
