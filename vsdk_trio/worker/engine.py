"""What a worker decides: which jobs it takes, what becomes of each, what the registry is sent.

Pure: events and `now` come in, actions come out (`actions.py`); no trio, no I/O, no log. The driver
performs the actions in their order. Seconds throughout; `now` is any clock that only advances.

    offer -> (request_fnc) -> yes: a slot is promised until the assignment, or until it runs out
    assignment -> written down -> StartJob -> the lifecycle (`jobs.lifecycle`) -> an end
    an end -> written down -> sent -> the slot is free once the job's process is gone, too

Promises, which `tests/worker/test_engine_machine.py` searches: no more jobs than slots, promises
included; one end for each assignment; nothing new while draining; an end is written down before it
is sent; every promise runs out.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Mapping
from typing import assert_never

import attrs

from .._masking import mask
from ..backend.events import SessionLost
from ..control.frames import Finished, Joined, Pong, Running
from ..errors import IllegalTransitionError
from ..jobs.admission import Admission, Refusal, RefusalCause
from ..jobs.lifecycle import AgentParticipant, EndCause, JobLifecycle, JobState, StopCause, Update
from ..journal.records import REMEMBERED_JOBS, Accepted, Acknowledged, JobEnd, Record, WorkerIdGiven
from ..protocol.messages import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
    WireMessage,
    WorkerMessage,
)
from ..protocol.vocabulary import JobFact, Vocabulary, WorkerFact, read_job_status
from ..telemetry import events as seen
from .actions import (
    Action,
    AskRequestFnc,
    Changed,
    Conditions,
    Decided,
    Delivered,
    DrainAsked,
    Emit,
    Event,
    FaultFound,
    Log,
    LogLevel,
    Note,
    Offered,
    Persist,
    Persisted,
    ProcessGiven,
    ProcessSaid,
    PromisesRevoked,
    Recovered,
    RunEnded,
    Send,
    SendStatus,
    Serving,
    SessionOpened,
    StartJob,
    StopAsked,
    StopJob,
    TroubleChanged,
)
from .live_job import JobSnapshot, LiveJob, TimeLimit, job_update, presentable, stage_took

# Changes come in bursts (an offer, its assignment, its start); one status tells of them all.
SETTLE_SECONDS = 0.05

# A process can die at the very moment in which it gets its job. Several can: but a job that kills
# its processes must come to an end.
MAX_PROCESSES_TRIED = 3

# So many deadlines are kept before those that mean nothing any more are looked for.
_COMPACT_AT = 64

_FACT_OF = {
    "completed": JobFact.COMPLETED,
    "failed": JobFact.FAILED,
    "cancelled": JobFact.CANCELLED,
}


@attrs.frozen(kw_only=True)
class EngineSettings:
    """On which terms the worker takes and runs jobs; times in seconds."""

    agent_id: str
    vocabulary: Vocabulary
    max_processes: int
    load_threshold: float
    asks_request_fnc: bool
    assignment_timeout: float
    job_timeout: float | None
    ping_interval: float


@attrs.frozen(kw_only=True)
class EngineSnapshot:
    """The worker as its engine knows it."""

    fact: WorkerFact
    load: float
    promised: int
    jobs: tuple[JobSnapshot, ...]


@attrs.frozen(kw_only=True)
class _PendingOffer:
    """An offer that is to be answered in the session `epoch`."""

    request: AvailabilityRequest
    epoch: int
    came_at: float


class WorkerEngine:
    """See the module.

    Args:
        ended: The jobs that ended before this worker began, oldest first.
        worker_id: The id that the journal remembers.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        ended: Mapping[str, Update] | None = None,
        worker_id: str = "",
    ) -> None:
        self._settings = settings
        self.admission = Admission(
            max_processes=settings.max_processes, load_threshold=settings.load_threshold
        )
        self._worker_id = worker_id
        self._token = ""
        # The session whose events come in: the connection counts them the same way.
        self._epoch = 0
        # The offers of a job while `request_fnc` has not decided: one of each session.
        self._undecided: dict[str, list[_PendingOffer]] = {}
        self._jobs: dict[str, LiveJob] = {}
        self._ended = dict(ended or {})
        # Refused assignments whose refusal is not written down yet.
        self._refusing: dict[str, Update] = {}
        # When the jobs ended whose end is not acknowledged.
        self._ended_at: dict[str, float] = {}
        self._is_draining = False
        self._is_stopping = False
        self._has_changed = False
        self.killed: list[str] = []
        """The jobs that did not stop when the worker ended, and whose processes were killed."""
        self._status_due: float | None = None
        # When promises run out (None), and the time limits of jobs. What is over by then stays in
        # the heap and means nothing.
        self._due: list[tuple[float, int, TimeLimit | None]] = []
        self._compact_at = _COMPACT_AT
        self._numbers = itertools.count()

    # -- what the driver asks --------------------------------------------------------------------

    @property
    def job_count(self) -> int:
        """How many jobs are live."""
        return len(self._jobs)

    @property
    def has_work(self) -> bool:
        """Whether a job is live or promised."""
        return bool(self._jobs or self.admission.reserved)

    def is_over(self, job_id: str) -> bool:
        """Whether the job has ended, though its process may still be there."""
        job = self._jobs.get(job_id)
        return job is None or job.lifecycle.state.is_end

    def status(self, conditions: Conditions) -> WorkerMessage:
        """The worker's present status; one that cannot run jobs looks full and fully loaded."""
        load = 1.0 if conditions.trouble is not None else round(self._load(conditions), 4)
        return WorkerMessage(
            type="status_update",
            worker_id=conditions.worker_id,
            agent_name=self._settings.agent_id,
            status=self._settings.vocabulary.worker_word(self._fact(conditions)),
            load=load,
            job_count=self.admission.running,
        )

    def announcement(self, conditions: Conditions) -> list[WireMessage]:
        """What a new session is sent first: the worker's status, and the jobs that run."""
        running = [
            self._update_message(job.job_id, job.sent)
            for job in self._jobs.values()
            if job.sent is not None and not job.is_end_sent
        ]
        return [self.status(conditions), *running]

    def snapshot(self, conditions: Conditions) -> EngineSnapshot:
        """What pages, metrics and readiness show."""
        return EngineSnapshot(
            fact=self._fact(conditions),
            load=self._load(conditions),
            promised=self.admission.reserved,
            jobs=tuple(job.snapshot() for job in self._jobs.values()),
        )

    # -- events ----------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> list[Action]:
        """Decide about one event."""
        actions = self._decide(event, now)
        if self._has_changed:
            actions.append(self._changed(now))
        return actions

    def _changed(self, now: float) -> Changed:
        self._has_changed = False
        if self._status_due is not None:
            self._status_due = min(self._status_due, now + SETTLE_SECONDS)
        return Changed()

    def _decide(self, event: Event, now: float) -> list[Action]:  # noqa: C901  # one case each
        match event:
            case JobAssignment():
                return self._assigned(event, now)
            case Persisted(record):
                return self._persisted(record, now)
            case ProcessGiven(job_id, join_timeout):
                return self._process_given(self._jobs[job_id], join_timeout, now)
            case ProcessSaid(job_id):
                return self._process_said(self._jobs[job_id], event, now)
            case RunEnded(job_id):
                return self._run_ended(self._jobs[job_id], event, now)
            case Offered(request, conditions):
                return self._offered(request, conditions, now)
            case Decided(job_id, refusal):
                return self._decided(job_id, refusal, now)
            case JobTermination():
                return self._terminated(event, now)
            case FaultFound(job_id, cause):
                job = self._jobs.get(job_id)
                return [] if job is None else self._stop(job, cause, now)
            case Delivered(message):
                return self._delivered(message, now)
            case SessionOpened(worker_id, token):
                return self._session_opened(worker_id, token)
            case SessionLost():
                self._has_changed = True
                return []
            case Recovered(ends, interrupted):
                return self._recovered(ends, interrupted)
            case TroubleChanged(trouble):
                self._has_changed = True
                is_well = trouble is None
                return [
                    Log("info" if is_well else "error", trouble or "jobs can be run again"),
                ]
            case Serving():
                self._status_due = now + self._settings.ping_interval
                return []
            case DrainAsked(reason):
                return self._close(reason)
            case PromisesRevoked(reason):
                return self._revoke(reason, now)
            case StopAsked():
                return self._stop_all(now)
            case _:
                assert_never(event)

    # -- time ------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next, or None."""
        first = self._due[0][0] if self._due else None
        if self._status_due is None or (first is not None and first < self._status_due):
            return first
        return self._status_due

    def tick(self, now: float) -> list[Action]:
        """End what has waited long enough; send the status where it is time for it."""
        actions: list[Action] = []
        while self._due and self._due[0][0] <= now:
            _, _, limit = heapq.heappop(self._due)
            if limit is not None and limit.applies:
                actions += self._stop(limit.job, limit.cause, now)
        for job_id in self.admission.expire(now):
            self._has_changed = True
            actions += [
                Log("warning", "no assignment came in time; slot freed", job_id),
                Emit(seen.PromiseExpired(job_id=job_id)),
            ]
        if self._has_changed:
            actions.append(self._changed(now))
        if self._status_due is not None and self._status_due <= now:
            self._status_due = now + self._settings.ping_interval
            actions.append(SendStatus())
        return actions

    def _ring_at(self, moment: float, limit: TimeLimit | None) -> None:
        if len(self._due) >= self._compact_at:
            # Limits are hours, perhaps, and jobs minutes.
            self._due = [due for due in self._due if due[2] is None or due[2].applies]
            heapq.heapify(self._due)
            self._compact_at = 2 * len(self._due) + _COMPACT_AT
        heapq.heappush(self._due, (moment, next(self._numbers), limit))

    # -- sessions --------------------------------------------------------------------------------

    def _session_opened(self, worker_id: str, token: str) -> list[Action]:
        self._epoch += 1
        self._token = token
        self._has_changed = True
        if worker_id == self._worker_id:
            return []
        self._worker_id = worker_id
        return [Persist(WorkerIdGiven(worker_id))]

    def _delivered(self, message: WireMessage, now: float) -> list[Action]:
        self._has_changed = True
        if not isinstance(message, JobUpdate):
            return []
        if read_job_status(message.status, message.error) is JobFact.RUNNING:
            return []
        job_id = message.job_id
        actions: list[Action] = [Note(Acknowledged(job_id))]
        # None: an end that was sent again, or of an earlier life.
        if (ended_at := self._ended_at.pop(job_id, None)) is not None:
            actions.append(stage_took(job_id, seen.DispatchStage.END_TO_PROVEN, now - ended_at))
        return actions

    def _recovered(self, ends: Mapping[str, Update], interrupted: Iterable[str]) -> list[Action]:
        """The ends of an earlier life are written down already."""
        emitted: list[Action] = [
            Emit(seen.JobRecovered(job_id=job_id, is_interrupted=job_id in interrupted))
            for job_id in ends
        ]
        sent = [Send(self._update_message(job_id, end)) for job_id, end in ends.items()]
        return [*emitted, *sent]

    # -- offers ----------------------------------------------------------------------------------

    def _offered(
        self, request: AvailabilityRequest, conditions: Conditions, now: float
    ) -> list[Action]:
        job_id = request.job_id
        offer = _PendingOffer(request=request, epoch=self._epoch, came_at=now)
        if self._end_of(job_id) is not None:
            text = f"job {job_id} has already ended here"
            return self._refuse(offer, Refusal(RefusalCause.ENDED, text), now)
        answer = self.admission.offer(job_id, load=conditions.load, trouble=conditions.trouble)
        if isinstance(answer, Refusal):
            return self._refuse(offer, answer, now)
        if not self._settings.asks_request_fnc:
            return self._promise(offer, now)
        if (undecided := self._undecided.get(job_id)) is not None:
            undecided.append(offer)
            return []
        self._undecided[job_id] = [offer]
        return [AskRequestFnc(request)]

    def _decided(self, job_id: str, refusal: Refusal | None, now: float) -> list[Action]:
        actions: list[Action] = []
        for offer in self._undecided.pop(job_id, ()):
            if refusal is None:
                actions += self._promise(offer, now)
            else:
                self.admission.withdraw(job_id)
                actions += self._refuse(offer, refusal, now)
        return actions

    def _promise(self, offer: _PendingOffer, now: float) -> list[Action]:
        job_id = offer.request.job_id
        expires_at = now + self._settings.assignment_timeout
        refusal = self.admission.promise(job_id, expires_at=expires_at)
        if refusal is not None:
            return self._refuse(offer, refusal, now)
        self._ring_at(expires_at, None)
        yes = AvailabilityResponse(job_id=job_id, available=True, token=self._token)
        return [Send(yes, offer.epoch), *self._answered(offer, None, now)]

    def _refuse(self, offer: _PendingOffer, refusal: Refusal, now: float) -> list[Action]:
        job_id, room_id = offer.request.job_id, offer.request.room_id
        reason = presentable(refusal.reason)
        no = AvailabilityResponse(job_id=job_id, available=False, error=reason)
        return [
            Log("info", f"offer refused: {refusal.reason}", job_id, room_id),
            Send(no, offer.epoch),
            *self._answered(offer, refusal, now),
        ]

    def _answered(self, offer: _PendingOffer, refusal: Refusal | None, now: float) -> list[Action]:
        self._has_changed = True
        job_id = offer.request.job_id
        answered = seen.OfferAnswered(job_id=job_id, room_id=offer.request.room_id)
        if refusal is not None:
            answered = attrs.evolve(
                answered, refusal=refusal.cause.value, reason=presentable(refusal.reason)
            )
        seconds = now - offer.came_at
        return [stage_took(job_id, seen.DispatchStage.OFFER_TO_ANSWER, seconds), Emit(answered)]

    # -- the end of the worker -------------------------------------------------------------------

    def _close(self, reason: str) -> list[Action]:
        self._is_draining = True
        self._has_changed = True
        self.admission.close(f"worker is shutting down: {reason}")
        return []

    def _revoke(self, reason: str, now: float) -> list[Action]:
        """Refuse also what was promised, and what `request_fnc` has not decided."""
        self._close(reason)
        self.admission.revoke()
        undecided, self._undecided = self._undecided, {}
        actions: list[Action] = []
        for offers in undecided.values():
            for offer in offers:
                actions += self._promise(offer, now)
        return actions

    def _stop_all(self, now: float) -> list[Action]:
        self._is_stopping = True
        cause = StopCause("worker is shutting down", cause=EndCause.WORKER_STOPS)
        actions: list[Action] = []
        for job in self._jobs.values():
            actions += self._stop(job, cause, now)
        return actions

    # -- assignments and terminations ------------------------------------------------------------

    def _assigned(self, assignment: JobAssignment, now: float) -> list[Action]:
        job_id, room_id = assignment.job_id, assignment.room_id
        if (ended := self._end_of(job_id)) is not None:
            return [
                Log("warning", "assigned again after its end; status sent again", job_id, room_id),
                *self._repeat(job_id, ended),
            ]
        refusal = self.admission.claim(job_id)
        if refusal is None:
            lifecycle = JobLifecycle(wait=assignment.wait)
            self._jobs[job_id] = LiveJob(
                assignment=assignment, lifecycle=lifecycle, accepted_at=now
            )
            # Not started before that is written: a next worker would not know, and run it again.
            return [Persist(Accepted(job_id))]
        if refusal.cause is RefusalCause.RUNNING:
            return [
                Log("warning", "assigned again while it runs; status sent again", job_id, room_id),
                *self._repeat(job_id, self._jobs[job_id].sent),
            ]
        # The registry is sent that it has failed: assigned again, it must not run after all. That
        # is written down, for a next worker would not know and could run it.
        end = Update(JobFact.FAILED, presentable(refusal.reason))
        self._remember(job_id, end)
        self._refusing[job_id] = end
        cause, reason = refusal.cause.value, mask(refusal.reason)
        return [
            Log("warning", f"assignment refused: {refusal.reason}", job_id, room_id),
            Emit(seen.AssignmentRefused(job_id=job_id, refusal=cause, reason=reason)),
            Persist(JobEnd(job_id, end.fact, end.error)),
        ]

    def _repeat(self, job_id: str, update: Update | None) -> list[Action]:
        """Send again what was sent of a job, to a registry that has assigned it again."""
        actions: list[Action] = [Emit(seen.AssignmentRepeated(job_id=job_id))]
        # A refusal that is still being written answers this assignment, too, when it is sent.
        if update is not None and job_id not in self._refusing:
            actions.append(Send(self._update_message(job_id, update)))
        return actions

    def _terminated(self, termination: JobTermination, now: float) -> list[Action]:
        job_id = termination.job_id
        job = self._jobs.get(job_id)
        received = Emit(seen.TerminationReceived(job_id=job_id, is_here=job is not None))
        if job is None:
            # Nothing is sent of a job that is not here: its end was sent, or its worker will do so.
            self.admission.withdraw(job_id)
            self._has_changed = True
            return [received, Log("info", "termination of a job that is not here", job_id)]
        reason = f"terminated: {mask(termination.reason)}" if termination.reason else "terminated"
        stopping = self._stop(job, StopCause(reason, cause=EndCause.TERMINATED), now)
        if not stopping:
            return [received]
        return [received, job.log("info", f"job is being stopped: {reason}"), *stopping]

    # -- the life of a job -----------------------------------------------------------------------

    def _persisted(self, record: Record, now: float) -> list[Action]:
        match record:
            case Accepted(job_id):
                return self._accepted(self._jobs[job_id], now)
            case JobEnd(job_id):
                if (refusal := self._refusing.pop(job_id, None)) is not None:
                    return [Send(self._update_message(job_id, refusal))]
                job = self._jobs[job_id]
                assert job.end is not None  # that is what was written
                actions = self._send_update(job, job.end)
                self._forget_if_done(job)
                return actions
            case _:
                return []

    def _accepted(self, job: LiveJob, now: float) -> list[Action]:
        """It is written down that the worker has the job: the job begins first, before any note."""
        self._has_changed = True
        if job.lifecycle.state is not JobState.ASSIGNED:
            return []  # stopped meanwhile
        return [self._start(job), *job.moves(now), job.log("info", "job accepted")]

    def _start(self, job: LiveJob) -> StartJob:
        job.is_started = True
        job.starts += 1
        return StartJob(job.assignment)

    def _process_given(self, job: LiveJob, join_timeout: float | None, now: float) -> list[Action]:
        job.lifecycle.start()
        assigned, run = job.assignment.timeout, self._settings.job_timeout
        if assigned is not None and assigned > 0:
            run = assigned
        if run is not None:
            self._ring_at(now + run, TimeLimit(job, job.starts, f"ran longer than {run:g} s"))
        if join_timeout is not None and (run is None or join_timeout < run):
            text = f"has not joined its room within {join_timeout:g} s"
            limit = TimeLimit(job, job.starts, text, is_for_joining=True)
            self._ring_at(now + join_timeout, limit)
        return job.moves(now)

    def _process_said(self, job: LiveJob, said: ProcessSaid, now: float) -> list[Action]:
        lifecycle, frame = job.lifecycle, said.frame
        try:
            match frame:
                case Running():
                    update = lifecycle.enter()
                    began = job.stage(seen.DispatchStage.PROCESS_TO_ENTRYPOINT, now)
                    return [began, *job.moves(now), *self._updated(job, update, now)]
                case Joined():
                    job.has_joined = True
                    participant = AgentParticipant(frame.participant_id, frame.participant_name)
                    return self._updated(job, lifecycle.join(participant), now)
                case Finished():
                    update = lifecycle.finish(_FACT_OF[frame.status], frame.error)
                    return self._updated(job, update, now)
        except IllegalTransitionError as error:
            # A job process is foreign code: what it says out of turn costs a line in the log.
            return [job.log("warning", f"job process out of turn: {error}")]
        if isinstance(frame, Pong):
            lag = frame.lag_ms / 1000
            answered = seen.JobAnswered(
                job_id=job.job_id, memory_mb=frame.memory_mb, lag_seconds=lag
            )
            return [Emit(answered)]
        return []

    def _run_ended(self, job: LiveJob, run: RunEnded, now: float) -> list[Action]:
        lifecycle = job.lifecycle
        job.is_started = False
        if run.cause is EndCause.PROCESS_KILLED and self._is_stopping:
            self.killed.append(job.job_id)
        is_process = run.cause in (EndCause.PROCESS_DIED, EndCause.PROCESS_KILLED)
        # A process says that the job begins before a line of it runs.
        if is_process and lifecycle.state is JobState.STARTING and job.starts < MAX_PROCESSES_TRIED:
            lifecycle.lose()
            text = "the job gets another process, this one ended before it began"
            return [
                self._start(job),
                *job.moves(now),
                job.log("warning", f"{text}: {run.how}"),
            ]
        if run.cause is EndCause.NO_PROCESS and lifecycle.state is JobState.STOPPING:
            return self._updated(job, lifecycle.abandon(), now)
        actions = self._updated(job, lifecycle.exit(run.how, run.cause), now)
        self._forget_if_done(job)
        return actions

    def _stop(self, job: LiveJob, cause: StopCause, now: float) -> list[Action]:
        """Make the job stop; nothing where it has ended or is stopping already."""
        if not job.lifecycle.stop(cause):
            return []
        actions = job.moves(now)
        if job.is_started:
            return [*actions, StopJob(job.job_id, cause.reason)]
        # It was not given to a process yet.
        return [*actions, *self._updated(job, job.lifecycle.abandon(), now)]

    def _updated(self, job: LiveJob, update: Update | None, now: float) -> list[Action]:
        """Log and send what is new about the job; an end once it is written down."""
        if update is None:
            return []
        state = job.lifecycle.state
        text = f"job {state}: {update.error}" if update.error else f"job {state}"
        level: LogLevel = "warning" if update.fact is JobFact.FAILED else "info"
        actions = [*job.moves(now), job.log(level, text)]
        if (error := presentable(update.error)) != update.error:
            update = attrs.evolve(update, error=error)
        if not update.is_terminal:
            return [*actions, *self._send_update(job, update)]
        job.end = update
        self._ended_at[job.job_id] = now
        return [*actions, Persist(JobEnd(job.job_id, update.fact, update.error))]

    def _send_update(self, job: LiveJob, update: Update) -> list[Action]:
        job.sent = update
        message = self._update_message(job.job_id, update)
        sent = seen.JobTold(job_id=job.job_id, status=str(update.state), error=message.error)
        return [Send(message), Emit(sent)]

    def _forget_if_done(self, job: LiveJob) -> None:
        """Free the slot, once the end is sent and the process is gone."""
        if job.is_started or not job.is_end_sent:
            return
        assert job.end is not None  # it was sent
        del self._jobs[job.job_id]
        self._remember(job.job_id, job.end)
        self.admission.release(job.job_id)
        self._has_changed = True

    def _end_of(self, job_id: str) -> Update | None:
        """How the job ended, as far as that is remembered."""
        return self._ended.get(job_id)

    def _remember(self, job_id: str, end: Update) -> None:
        self._ended[job_id] = end
        if len(self._ended) > REMEMBERED_JOBS:
            del self._ended[next(iter(self._ended))]

    # -- what describes the worker ---------------------------------------------------------------

    def _fact(self, conditions: Conditions) -> WorkerFact:
        if self._is_draining:
            return WorkerFact.DRAINING
        if self.admission.is_full or conditions.trouble is not None:
            return WorkerFact.FULL
        return WorkerFact.BUSY if self.admission.running else WorkerFact.IDLE

    def _load(self, conditions: Conditions) -> float:
        return self.admission.share_in_use if conditions.load is None else conditions.load

    def _update_message(self, job_id: str, update: Update) -> JobUpdate:
        return job_update(self._settings.vocabulary, job_id, update)
