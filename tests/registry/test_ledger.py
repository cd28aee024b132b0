"""The ledger keeps what is open, bounds what has ended, and finds what is due."""

from __future__ import annotations

import attrs

from vsdk_trio.registry.ledger import DispatchRequest, Job, Ledger, LedgerState, RecordedUpdate

REQUEST = DispatchRequest(agent_id="a", room_id="r", metadata={"secret": 1})


def job(job_id: str, state: LedgerState = LedgerState.OFFERED, **fields: object) -> Job:
    created = float(job_id[1:])
    return Job(job_id=job_id, request=REQUEST, state=state, created=created, **fields)  # type: ignore[arg-type]


def update(job_id: str, time: float = 0.0) -> RecordedUpdate:
    return RecordedUpdate(
        time=time, worker_id="w", job_id=job_id, status="running", error=None, applied=True
    )


def test_open_jobs_are_never_dropped_and_ended_ones_are_bounded() -> None:
    ledger = Ledger(max_ended=2)
    ledger.put(job("j0"))
    for n in range(1, 6):
        ledger.put(job(f"j{n}", LedgerState.COMPLETED))
    assert [j.job_id for j in ledger.jobs()] == ["j0", "j4", "j5"]
    assert ledger.open_count == 1
    assert ledger.get("j1") is None


def test_an_ended_job_may_be_opened_again() -> None:
    ledger = Ledger()
    ledger.put(job("j1", LedgerState.FAILED))
    ledger.put(job("j1", LedgerState.RUNNING))
    assert ledger.open_count == 1
    assert [j.state for j in ledger.jobs()] == [LedgerState.RUNNING]


def test_first_due_forgets_deadlines_that_a_job_has_outlived() -> None:
    ledger = Ledger()
    first, second = job("j1", deadline=5.0), job("j2", deadline=7.0)
    ledger.put(first)
    ledger.put(second)
    assert ledger.first_due() == first
    ledger.put(attrs.evolve(first, deadline=9.0))
    assert ledger.first_due() == second
    ledger.put(attrs.evolve(second, state=LedgerState.COMPLETED, deadline=None))
    ledger.put(attrs.evolve(first, deadline=None))
    assert ledger.first_due() is None


def test_updates_are_kept_in_order_and_bounded() -> None:
    ledger = Ledger(max_updates=3)
    for n in range(5):
        ledger.record(update(f"j{n % 2}", float(n)))
    assert [u.time for u in ledger.updates()] == [2.0, 3.0, 4.0]
    assert [u.time for u in ledger.updates("j0")] == [2.0, 4.0]


def test_a_job_names_its_agent_and_room_and_no_payload_in_its_repr() -> None:
    assert (job("j1").agent_id, job("j1").room_id) == ("a", "r")
    assert "secret" not in repr(job("j1"))
