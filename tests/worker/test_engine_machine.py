"""Any order of events: the promises of the worker's engine hold, whatever registry and jobs do."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from vsdk_trio.backend.events import SessionLost
from vsdk_trio.control.frames import Finished, Joined, Running
from vsdk_trio.jobs.admission import Admission, Refusal, RefusalCause
from vsdk_trio.jobs.lifecycle import EndCause, StopCause
from vsdk_trio.journal.records import Accepted, JobEnd, Record
from vsdk_trio.protocol.messages import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
)
from vsdk_trio.protocol.vocabulary import vocabulary
from vsdk_trio.worker.actions import (
    Action,
    AskRequestFnc,
    Conditions,
    Decided,
    Delivered,
    DrainAsked,
    Event,
    FaultFound,
    Offered,
    Persist,
    Persisted,
    ProcessGiven,
    ProcessSaid,
    PromisesRevoked,
    RunEnded,
    Send,
    SendStatus,
    Serving,
    SessionOpened,
    StartJob,
    StopAsked,
    StopJob,
)
from vsdk_trio.worker.engine import EngineSettings, WorkerEngine

SLOTS = 2
ASSIGNMENT_TIMEOUT = 5.0
JOB_TIMEOUT = 20.0
JOBS = st.sampled_from(["a", "b", "c", "d"])
NUMBERS = st.integers(0, 7)


class EngineMachine(RuleBasedStateMachine):
    """Drives the engine like a driver with slow processes, a slow disk and an erratic registry."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = WorkerEngine(
            EngineSettings(
                agent_id="agent",
                vocabulary=vocabulary("deployed"),
                max_processes=SLOTS,
                load_threshold=0.75,
                asks_request_fnc=True,
                assignment_timeout=ASSIGNMENT_TIMEOUT,
                job_timeout=JOB_TIMEOUT,
                ping_interval=10.0,
            )
        )
        self.now = 0.0
        self.epoch = 0
        self.closed = False
        self.revoked = False
        self.trouble: str | None = None
        self.asked: dict[str, AvailabilityRequest] = {}
        # Offers without an answer, by (job, session).
        self.open_offers: Counter[tuple[str, int]] = Counter()
        self.promised: dict[str, float] = {}
        # What the disk has not written yet, and what it has.
        self.disk: deque[Record] = deque()
        self.written: set[Record] = set()
        # Runs: whether the process is there.
        self.runs: dict[str, bool] = {}
        self.stopped: set[str] = set()
        self.accepted: set[str] = set()
        self.assigned: set[str] = set()
        self.ends: dict[str, tuple[str, str | None]] = {}
        self.run_began_at: dict[str, float] = {}
        self.is_serving = False

    # -- the naive driver ------------------------------------------------------------------------

    def receive(self, event: Event) -> None:
        self.perform(self.engine.receive(event, self.now))

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(AvailabilityResponse() as answer, epoch):
                    assert epoch is not None
                    self.open_offers[answer.job_id, epoch] -= 1
                    assert self.open_offers[answer.job_id, epoch] >= 0, "one answer to one offer"
                    if answer.available:
                        assert not self.revoked
                        self.promised[answer.job_id] = self.now
                case Send(JobUpdate() as update, epoch):
                    assert epoch is None
                    self.check_update(update)
                case Persist(record):
                    self.disk.append(record)
                    if isinstance(record, Accepted):
                        assert record.job_id not in self.accepted, "a job is accepted once"
                        # A registry may assign what was offered before, and is not answered yet.
                        known = record.job_id in self.promised or record.job_id in self.asked
                        assert known or not self.closed
                        assert not self.revoked
                        self.accepted.add(record.job_id)
                case AskRequestFnc(request):
                    assert request.job_id not in self.asked
                    self.asked[request.job_id] = request
                case StartJob(assignment):
                    job_id = assignment.job_id
                    assert Accepted(job_id) in self.written, "written before it is started"
                    assert job_id not in self.runs
                    self.runs[job_id] = False
                case StopJob(job_id):
                    assert job_id in self.runs
                    self.stopped.add(job_id)
                case _:
                    pass

    def check_update(self, update: JobUpdate) -> None:
        if update.status == "running":
            assert update.job_id in self.accepted
            return
        end = update.status, update.error
        assert self.ends.setdefault(update.job_id, end) == end, "one end for each job"
        assert update.job_id in self.assigned
        written = {r.job_id for r in self.written if isinstance(r, JobEnd)}
        assert update.job_id in written, "written before it is sent"

    # -- the registry ----------------------------------------------------------------------------

    @rule()
    def open_session(self) -> None:
        self.epoch += 1
        self.receive(SessionOpened(f"id-{self.epoch % 2}", f"token-{self.epoch}"))
        for message in self.engine.announcement(self.conditions)[1:]:
            assert isinstance(message, JobUpdate)
            assert message.status == "running"

    @rule()
    def lose_session(self) -> None:
        self.receive(SessionLost("cut"))

    @property
    def conditions(self) -> Conditions:
        return Conditions(worker_id="id", load=None, trouble=self.trouble)

    @precondition(lambda self: self.epoch)
    @rule(job_id=JOBS)
    def offer(self, job_id: str) -> None:
        self.open_offers[job_id, self.epoch] += 1
        self.receive(Offered(AvailabilityRequest(job_id=job_id, room_id="room"), self.conditions))

    @rule(number=NUMBERS, says_yes=st.booleans())
    def decide(self, number: int, says_yes: bool) -> None:
        if self.asked:
            job_id = sorted(self.asked)[number % len(self.asked)]
            del self.asked[job_id]
            no = Refusal(RefusalCause.DECLINED, "no")
            self.receive(Decided(job_id, None if says_yes else no))

    @precondition(lambda self: self.epoch)
    @rule(job_id=JOBS, wait=st.booleans())
    def assign(self, job_id: str, wait: bool) -> None:
        self.assigned.add(job_id)
        self.receive(JobAssignment(job_id=job_id, room_id="room", wait=wait))
        self.promised.pop(job_id, None)

    @rule(job_id=JOBS)
    def terminate(self, job_id: str) -> None:
        self.receive(JobTermination(job_id=job_id, reason="enough"))

    @rule(job_id=JOBS)
    def acknowledge(self, job_id: str) -> None:
        if job_id in self.ends:
            status, error = self.ends[job_id]
            self.receive(Delivered(JobUpdate(job_id=job_id, status=status, error=error)))

    # -- the disk, processes, what watches them --------------------------------------------------

    @rule(records=st.integers(1, 3))
    def write(self, records: int) -> None:
        for _ in range(min(records, len(self.disk))):
            record = self.disk.popleft()
            self.written.add(record)
            self.receive(Persisted(record))

    def any_run(self, number: int, *, has_process: bool) -> str | None:
        runs = sorted(job_id for job_id, given in self.runs.items() if given is has_process)
        return runs[number % len(runs)] if runs else None

    @rule(number=NUMBERS, join_timeout=st.sampled_from([None, 3.0]))
    def give_process(self, number: int, join_timeout: float | None) -> None:
        job_id = self.any_run(number, has_process=False)
        if job_id is not None and job_id not in self.stopped:
            self.runs[job_id] = True
            self.run_began_at[job_id] = self.now
            self.receive(ProcessGiven(job_id, join_timeout))

    @rule(
        number=NUMBERS,
        frame=st.sampled_from(
            [
                Running(),
                Joined(participant_id="p", participant_name="n"),
                Finished(status="completed"),
                Finished(status="failed", error="ValueError: \ud800"),
                Finished(status="cancelled"),
            ]
        ),
    )
    def say(self, number: int, frame: Running | Joined | Finished) -> None:
        if (job_id := self.any_run(number, has_process=True)) is not None:
            self.receive(ProcessSaid(job_id, frame))

    @rule(
        number=NUMBERS,
        has_process=st.booleans(),
        cause=st.sampled_from(
            [EndCause.PROCESS_DIED, EndCause.PROCESS_KILLED, EndCause.WORKER_FAILED]
        ),
    )
    def end_run(self, number: int, has_process: bool, cause: EndCause) -> None:
        job_id = self.any_run(number, has_process=has_process)
        if job_id is None:
            return
        if not has_process:
            cause = EndCause.NO_PROCESS
        del self.runs[job_id]
        self.stopped.discard(job_id)
        self.run_began_at.pop(job_id, None)
        self.receive(RunEnded(job_id, "how", cause))

    @rule(job_id=JOBS)
    def find_fault(self, job_id: str) -> None:
        cause = StopCause("too much", is_fault=True, cause=EndCause.MEMORY_LIMIT)
        self.receive(FaultFound(job_id, cause))

    @rule(trouble=st.sampled_from([None, "no job process comes up"]))
    def change_trouble(self, trouble: str | None) -> None:
        self.trouble = trouble

    # -- time, and the end -----------------------------------------------------------------------

    @precondition(lambda self: not self.is_serving)
    @rule()
    def serve(self) -> None:
        self.is_serving = True
        self.receive(Serving())

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 6.0, 30.0]))
    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.engine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.perform(self.engine.tick(self.now))
        self.now = until
        for job_id, began_at in self.run_began_at.items():
            if self.now > began_at + JOB_TIMEOUT:
                assert job_id in self.stopped or self.engine.is_over(job_id), "a job's time limit"

    @precondition(lambda self: not self.closed)
    @rule()
    def drain(self) -> None:
        self.closed = True
        self.receive(DrainAsked("the test says so"))

    @precondition(lambda self: self.closed)
    @rule()
    def revoke(self) -> None:
        self.receive(PromisesRevoked("the test says so"))
        self.revoked = True
        assert not self.open_offers.total(), "everything is answered"

    @precondition(lambda self: self.revoked)
    @rule()
    def stop(self) -> None:
        self.receive(StopAsked())
        for job_id in self.runs:
            assert job_id in self.stopped or self.engine.is_over(job_id)

    # -- what holds at all times -----------------------------------------------------------------

    @invariant()
    def no_more_jobs_than_slots(self) -> None:
        admission = self.engine.admission
        assert admission.reserved + admission.running <= SLOTS
        assert admission.running == self.engine.job_count
        assert len(self.runs) <= self.engine.job_count

    @invariant()
    def promises_run_out(self) -> None:
        late = [j for j, at in self.promised.items() if self.now >= at + ASSIGNMENT_TIMEOUT]
        undecided = {job_id for job_id, _ in +self.open_offers}
        if not self.asked and not undecided and len(late) == len(self.promised):
            assert not self.engine.admission.reserved

    @invariant()
    def what_is_shown_is_what_is_there(self) -> None:
        snapshot = self.engine.snapshot(self.conditions)
        assert len(snapshot.jobs) == self.engine.job_count
        assert snapshot.promised == self.engine.admission.reserved
        assert self.engine.has_work == bool(snapshot.jobs or snapshot.promised)

    def teardown(self) -> None:
        """Let everything come to its end: each assignment has its outcome then."""
        self.closed = True
        self.receive(PromisesRevoked("the end"))
        self.revoked = True
        self.receive(StopAsked())
        assert all(job_id in self.stopped or self.engine.is_over(job_id) for job_id in self.runs)
        while self.disk or self.runs:
            self.write(len(self.disk))
            for has_process in (True, False):
                self.end_run(0, has_process, EndCause.PROCESS_DIED)
        assert self.engine.job_count == 0
        assert not self.engine.has_work
        assert self.ends.keys() == self.assigned
        self.wait(100.0)
        statuses = [a for a in self.engine.tick(self.now) if isinstance(a, SendStatus)]
        assert not statuses, "one status for each interval"


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(stateful_step_count=60, deadline=None)


# Deliberate bugs: a search that finds none of them proves little. Each is given what it replaces.


def _answers_twice(promise: Any) -> Any:
    return lambda self, *rest: [*promise(self, *rest), *promise(self, *rest)]


def _no_is_not_sent(refuse: Any) -> Any:
    return lambda self, *rest: []


def _promises_take_no_slot(is_full: Any) -> Any:
    return property(lambda self: self.running >= self.max_processes)


def _promises_last(expire: Any) -> Any:
    return lambda self, now: ()


def _draining_accepts(close: Any) -> Any:
    return lambda self, reason: None


def _ends_are_sent_before_they_are_written(updated: Any) -> Any:
    def also_send(self: Any, job: Any, update: Any, now: float) -> Any:
        actions = updated(self, job, update, now)
        if update is not None and update.is_terminal:
            actions.append(Send(self._update_message(job.job_id, update)))
        return actions

    return also_send


def _ends_are_forgotten(end_of: Any) -> Any:
    return lambda self, job_id: None


def _jobs_are_not_stopped(stop_all: Any) -> Any:
    return lambda self, now: []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "bug"),
    [
        (WorkerEngine, "_promise", _answers_twice),
        (WorkerEngine, "_refuse", _no_is_not_sent),
        (Admission, "is_full", _promises_take_no_slot),
        (Admission, "expire", _promises_last),
        (Admission, "close", _draining_accepts),
        (WorkerEngine, "_updated", _ends_are_sent_before_they_are_written),
        (WorkerEngine, "_end_of", _ends_are_forgotten),
        (WorkerEngine, "_stop_all", _jobs_are_not_stopped),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("_"),
)
def test_a_deliberate_bug_is_found(
    owner: type, name: str, bug: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, bug(owner.__dict__[name]))
    search = settings(
        stateful_step_count=60,
        max_examples=3000,
        deadline=None,
        database=None,
        # The same search each time: whether a bug is found must not be a matter of luck.
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(EngineMachine, settings=search)
