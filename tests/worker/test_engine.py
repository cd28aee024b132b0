"""What the worker's engine decides, case by case; any order: see `test_engine_machine.py`."""

from __future__ import annotations

import attrs
import pytest

from vsdk_trio.control.frames import Joined, Pong, Ready, Running
from vsdk_trio.jobs.lifecycle import EndCause
from vsdk_trio.journal.records import Accepted, Acknowledged, JobEnd
from vsdk_trio.protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    JobUpdate,
    WorkerMessage,
)
from vsdk_trio.protocol.vocabulary import JobFact, vocabulary
from vsdk_trio.telemetry import events as seen
from vsdk_trio.worker.actions import (
    Changed,
    Conditions,
    Delivered,
    Emit,
    Log,
    Note,
    Offered,
    Persist,
    Persisted,
    ProcessGiven,
    ProcessSaid,
    RunEnded,
    Send,
    SendStatus,
    Serving,
    StartJob,
    StopAsked,
    StopJob,
    TroubleChanged,
)
from vsdk_trio.worker.engine import EngineSettings, WorkerEngine

WELL = Conditions(worker_id="id", load=None, trouble=None)
SETTINGS = EngineSettings(
    agent_id="agent",
    vocabulary=vocabulary("deployed"),
    max_processes=2,
    load_threshold=0.75,
    asks_request_fnc=False,
    assignment_timeout=5.0,
    job_timeout=None,
    ping_interval=10.0,
)


@pytest.fixture
def engine() -> WorkerEngine:
    return WorkerEngine(SETTINGS)


def start(engine: WorkerEngine, job_id: str, now: float, **fields: object) -> None:
    """Bring a job to the moment in which a process has it."""
    assignment = JobAssignment(job_id=job_id, room_id="room", **fields)  # type: ignore[arg-type]
    assert engine.receive(assignment, now) == [Persist(Accepted(job_id))]
    assert engine.receive(Persisted(Accepted(job_id)), now)[0] == StartJob(assignment)
    engine.receive(ProcessGiven(job_id, join_timeout=3.0), now)


def test_a_job_starts_before_anything_is_noted_of_it(engine: WorkerEngine) -> None:
    assignment = JobAssignment(job_id="a", room_id="room")
    engine.receive(assignment, 0.0)
    first, *rest = engine.receive(Persisted(Accepted("a")), 0.0)
    assert first == StartJob(assignment)
    assert any(isinstance(action, Emit) for action in rest)


def test_an_end_is_sent_once_it_is_written(engine: WorkerEngine) -> None:
    start(engine, "a", 0.0)
    ended = engine.receive(RunEnded("a", "exited with code 3", EndCause.PROCESS_DIED), 1.0)
    # It had not begun, so another process gets it.
    assert isinstance(ended[0], StartJob)
    engine.receive(ProcessGiven("a"), 1.0)
    engine.receive(ProcessSaid("a", Running()), 1.5)
    ended = engine.receive(RunEnded("a", "exited with code 3", EndCause.PROCESS_DIED), 2.0)
    record = JobEnd("a", JobFact.FAILED, "exited with code 3")
    assert Persist(record) in ended
    assert not any(isinstance(action, Send) for action in ended)
    assert engine.job_count == 1
    sent = engine.receive(Persisted(record), 2.5)
    update = JobUpdate(job_id="a", status="failed", error="exited with code 3")
    assert sent[0] == Send(update)
    assert engine.job_count == 0
    acknowledged = engine.receive(Delivered(update), 4.0)
    took = seen.StageTook(job_id="a", stage=seen.DispatchStage.END_TO_PROVEN, seconds=2.0)
    assert acknowledged == [Note(Acknowledged("a")), Emit(took), Changed()]
    assert engine.receive(Delivered(WorkerMessage(type="ping")), 5.0) == [Changed()]


def test_a_status_follows_a_change_and_then_the_interval(engine: WorkerEngine) -> None:
    engine.receive(TroubleChanged("no job process comes up"), 0.0)
    assert engine.next_deadline() is None
    engine.receive(Serving(), 1.0)
    assert engine.next_deadline() == 11.0
    engine.receive(TroubleChanged(None), 2.0)
    due = engine.next_deadline()
    assert due is not None
    assert 2.0 < due < 2.1
    assert engine.tick(due) == [SendStatus()]
    assert engine.next_deadline() == due + 10.0


def test_a_promise_runs_out_also_before_the_worker_serves(engine: WorkerEngine) -> None:
    engine.receive(Offered(AvailabilityRequest(job_id="a"), WELL), 0.0)
    assert engine.next_deadline() == 5.0
    assert engine.tick(4.0) == []
    assert Emit(seen.PromiseExpired(job_id="a")) in engine.tick(5.0)
    assert not engine.has_work


def test_time_limits_end_with_the_start_that_they_belong_to() -> None:
    engine = WorkerEngine(attrs.evolve(SETTINGS, job_timeout=20.0))
    start(engine, "a", 0.0)
    engine.receive(RunEnded("a", "killed by SIGKILL", EndCause.PROCESS_DIED), 2.0)
    engine.receive(ProcessGiven("a", join_timeout=3.0), 2.0)
    assert engine.tick(3.0) == []
    engine.receive(ProcessSaid("a", Running()), 4.0)
    engine.receive(ProcessSaid("a", Joined(participant_id="p", participant_name="n")), 4.5)
    assert engine.tick(20.0) == []
    assert StopJob("a", "ran longer than 20 s") in engine.tick(22.0)


def test_deadlines_of_jobs_that_are_over_are_not_kept() -> None:
    engine = WorkerEngine(attrs.evolve(SETTINGS, job_timeout=1e6))
    for number in range(1000):
        job_id = f"job-{number}"
        start(engine, job_id, float(number))
        engine.receive(RunEnded(job_id, "no", EndCause.WORKER_FAILED), float(number))
        engine.receive(Persisted(JobEnd(job_id, JobFact.FAILED, "no")), float(number))
    assert engine.job_count == 0
    assert len(engine._due) < 200
    assert engine.tick(2e6) == []


def test_a_worker_that_stops_stops_jobs_wherever_they_are(engine: WorkerEngine) -> None:
    """One has a process, one is not written down yet: that one never starts."""
    start(engine, "a", 0.0)
    engine.receive(JobAssignment(job_id="b", room_id="room"), 0.0)
    actions = engine.receive(StopAsked(), 1.0)
    assert StopJob("a", "worker is shutting down") in actions
    [record] = [action.record for action in actions if isinstance(action, Persist)]
    assert engine.receive(Persisted(Accepted("b")), 1.5) == [Changed()]
    assert any(isinstance(action, Send) for action in engine.receive(Persisted(record), 2.0))
    engine.receive(RunEnded("a", "killed by SIGKILL", EndCause.PROCESS_KILLED), 3.0)
    assert engine.killed == ["a"]


def test_a_job_that_is_terminated_again_is_stopped_once(engine: WorkerEngine) -> None:
    start(engine, "a", 0.0)
    termination = JobTermination(job_id="a", reason="enough")
    assert StopJob("a", "terminated: enough") in engine.receive(termination, 1.0)
    received = Emit(seen.TerminationReceived(job_id="a", is_here=True))
    assert engine.receive(termination, 2.0) == [received]


def test_what_a_process_says_out_of_turn_costs_a_line_in_the_log(engine: WorkerEngine) -> None:
    start(engine, "a", 0.0)
    joined = Joined(participant_id="p", participant_name="n")
    [line] = engine.receive(ProcessSaid("a", joined), 1.0)
    assert isinstance(line, Log)
    assert (line.level, line.job_id) == ("warning", "a")
    assert line.text.startswith("job process out of turn: ")


def test_an_answer_to_a_ping_is_counted_and_other_frames_mean_nothing(
    engine: WorkerEngine,
) -> None:
    start(engine, "a", 0.0)
    answered = seen.JobAnswered(job_id="a", memory_mb=20.0, lag_seconds=0.5)
    pong = Pong(seq=1, memory_mb=20.0, lag_ms=500.0)
    assert engine.receive(ProcessSaid("a", pong), 1.0) == [Emit(answered)]
    assert engine.receive(ProcessSaid("a", Ready(pid=1)), 1.0) == []
