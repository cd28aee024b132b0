"""What a worker's page remembers, by itself and along a worker's life."""

from __future__ import annotations

from trio.testing import MockClock

from vsdk_trio.status import history as history_module
from vsdk_trio.status.history import History, events_of
from vsdk_trio.telemetry import events as seen


def moved(
    job_id: str, previous: str | None, state: str, *, age: float = 0.0, **fields: str
) -> seen.JobMoved:
    return seen.JobMoved(
        job_id=job_id,
        room_id="room",
        previous=previous,
        state=state,
        seconds=1.0,
        age_seconds=age,
        **fields,
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def a_job(history: seen.Observe, job_id: str, end: str = "completed") -> None:
    history(moved(job_id, None, "assigned"))
    history(moved(job_id, "assigned", "starting"))
    history(moved(job_id, "starting", "running"))
    history(moved(job_id, "running", end, cause="returned"))


async def test_a_job_is_remembered_from_its_offer_to_its_proof(autojump_clock: MockClock) -> None:
    history = History(Clock())
    history(seen.OfferAnswered(job_id="j", room_id="room"))
    history(seen.StageTook(job_id="j", stage=seen.DispatchStage.OFFER_TO_ANSWER, seconds=0.1))
    history(moved("j", None, "assigned"))
    assert [(job.job_id, job.state, job.has_ended) for job in history.jobs()] == [
        ("j", "assigned", False)
    ]
    history(seen.StageTook(job_id="j", stage=seen.DispatchStage.ASSIGNMENT_TO_PROCESS, seconds=0.2))
    history(moved("j", "assigned", "failed", age=1.5, cause="no process"))
    history(seen.JobTold(job_id="j", status="failed", error="x" * 1000))
    history(seen.StageTook(job_id="j", stage=seen.DispatchStage.END_TO_PROVEN, seconds=0.3))
    [job] = history.jobs()
    assert job.stages == {
        "offer_to_answer": 0.1,
        "assignment_to_process": 0.2,
        "end_to_proven": 0.3,
    }
    assert job.moves == [("assigned", 1.0), ("failed", 2.5)]
    assert (job.cause, job.is_told) == ("no process", True)
    assert job.error is not None
    assert len(job.error) == 1000  # a page of its own shows all of it
    assert (history.accepted, history.ended) == (1, {"failed": 1})
    assert [event["name"] for event in events_of(job)] == ["job_assigned", "job_failed"]
    assert events_of(history.job("unknown")) == []


async def test_everything_is_bounded(autojump_clock: MockClock) -> None:
    history = History(Clock())
    for n in range(1000):
        history(
            seen.StageTook(job_id=f"o{n}", stage=seen.DispatchStage.OFFER_TO_ANSWER, seconds=0.1)
        )
        history(seen.StatusReported(load=(n % 3) / 3))
        history(seen.OfferAnswered(job_id=f"r{n}", room_id="", refusal="full", reason="no"))
        history(seen.AttemptFailed(cause="lost", error="e" * 1000, delay=1.0))
        a_job(history, f"j{n}")
    assert len(list(history.jobs())) == history_module.MAX_ENDED
    assert next(history.jobs()).job_id == "j999"
    assert len(history.load) == history_module.MAX_LOAD_POINTS
    assert len(history.refusals) == history_module.MAX_REFUSALS
    assert len(history.events) == history_module.MAX_EVENTS
    assert history.events[-1]["name"] == "attempt_failed"
    assert len(history.events[-1]["data"]["error"]) == 300
    assert len(history._offers) == history_module.MAX_OFFERS
    # What is counted is counted to the end.
    assert (history.refused["full"], history.ended["completed"]) == (1000, 1000)


async def test_a_level_load_is_two_points(autojump_clock: MockClock) -> None:
    history = History(Clock())
    for load in (0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0):
        history(seen.StatusReported(load=load))
    assert history.load == [(1.0, 0.0), (4.0, 0.0), (5.0, 0.5), (7.0, 0.5), (8.0, 0.0)]


async def test_refused_assignments_count_as_refusals(autojump_clock: MockClock) -> None:
    history = History(Clock())
    history(seen.AssignmentRefused(job_id="j", refusal="closed", reason="worker ends"))
    [note] = history.refusals
    assert (note.job_id, note.refusal, note.reason) == ("j", "closed", "worker ends")
    history(seen.AssignmentRefused(job_id="j", refusal="closed", reason="worker ends"))
    [note] = history.refusals
    assert (note.began_at, note.at, note.count) == (1.0, 2.0, 2)
    # Of a job that is not known, a move means nothing.
    history(moved("unknown", "assigned", "running"))
    assert list(history.jobs()) == []
