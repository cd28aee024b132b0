"""Admission: slots, promises and refusals, against a naive model."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.jobs.admission import Admission, Refusal, RefusalCause, Reservation

JOB_IDS = st.sampled_from([f"job-{n}" for n in range(8)])


def admission(max_processes: int = 2) -> Admission:
    return Admission(max_processes=max_processes, load_threshold=0.75)


def cause(answer: object) -> RefusalCause:
    assert isinstance(answer, Refusal)
    return answer.cause


def test_promises_count() -> None:
    slots = admission(1)
    assert slots.offer("a") == Reservation("a")
    refusal = slots.offer("b")
    assert refusal == Refusal(
        RefusalCause.AT_CAPACITY, "at capacity: 0 running and 1 promised of 1"
    )
    assert repr(slots) == "<Admission 0 running, 1 reserved of 1>"


def test_a_repeated_offer_holds_one_slot() -> None:
    slots = admission(1)
    slots.offer("a")
    slots.promise("a", expires_at=7.5)
    assert slots.offer("a") == Reservation("a", 7.5)
    assert slots.reserved == 1


def test_a_promise_runs_out_on_time() -> None:
    slots = admission(1)
    slots.offer("a")
    assert slots.next_expiry is None
    assert slots.expire(1e9) == ()
    slots.promise("a", expires_at=7.5)
    assert slots.next_expiry == 7.5
    assert slots.expire(7.4) == ()
    assert slots.expire(7.5) == ("a",)
    assert not slots.is_full


def test_a_withdrawn_or_unknown_promise_changes_nothing() -> None:
    slots = admission(1)
    slots.offer("a")
    slots.withdraw("a")
    slots.withdraw("a")
    no = Refusal(RefusalCause.CLOSED, "the slot was given up")
    assert slots.promise("a", expires_at=1) == no
    slots.close("leaving")
    assert slots.promise("a", expires_at=1) == Refusal(RefusalCause.CLOSED, "leaving")
    assert (slots.reserved, slots.next_expiry) == (0, None)


def test_late_and_unasked_assignments_are_taken_if_there_is_room() -> None:
    slots = admission(1)
    assert slots.claim("unasked") is None
    assert cause(slots.claim("another")) is RefusalCause.AT_CAPACITY
    assert cause(slots.claim("unasked")) is RefusalCause.RUNNING
    assert cause(slots.offer("unasked")) is RefusalCause.RUNNING


def test_a_closed_worker_keeps_its_promises_and_makes_none() -> None:
    slots = admission()
    slots.offer("promised")
    slots.close("draining")
    slots.close("stopping")
    assert slots.offer("new") == Refusal(RefusalCause.CLOSED, "draining")
    assert cause(slots.claim("new")) is RefusalCause.CLOSED
    assert slots.claim("promised") is None


def test_load_refuses_only_above_the_threshold() -> None:
    slots = admission()
    assert cause(slots.offer("a", load=0.76)) is RefusalCause.OVERLOADED
    assert slots.offer("a", load=0.75) == Reservation("a")
    assert slots.share_in_use == 0.5


def test_releasing_what_does_not_run_is_an_error() -> None:
    with pytest.raises(IllegalTransitionError, match="job a has no slot"):
        admission().release("a")


class AdmissionMachine(RuleBasedStateMachine):
    """Any order of events, checked against two sets and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = admission(3)
        self.now = 0.0
        self.reserved: dict[str, float | None] = {}
        self.running: set[str] = set()
        self.closed = False

    @property
    def used(self) -> int:
        return len(self.reserved) + len(self.running)

    @rule(job_id=JOB_IDS)
    def offer(self, job_id: str) -> None:
        yes = isinstance(self.slots.offer(job_id), Reservation)
        held = job_id in self.reserved
        room = self.used < 3 and job_id not in self.running
        assert yes == (not self.closed and (held or room))
        if yes:
            self.reserved.setdefault(job_id, None)

    @rule(job_id=JOB_IDS, seconds=st.integers(0, 9))
    def promise(self, job_id: str, seconds: int) -> None:
        refusal = self.slots.promise(job_id, expires_at=self.now + seconds)
        assert (refusal is None) == (job_id in self.reserved or job_id in self.running)
        if job_id in self.reserved:
            self.reserved[job_id] = self.now + seconds

    @rule(job_id=JOB_IDS)
    def withdraw(self, job_id: str) -> None:
        self.slots.withdraw(job_id)
        self.reserved.pop(job_id, None)

    @rule(job_id=JOB_IDS)
    def claim(self, job_id: str) -> None:
        taken = self.slots.claim(job_id) is None
        expected = job_id not in self.running and (
            job_id in self.reserved or (self.used < 3 and not self.closed)
        )
        assert taken == expected
        if taken:
            self.reserved.pop(job_id, None)
            self.running.add(job_id)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        self.slots.release(job_id)
        self.running.remove(job_id)

    @rule(seconds=st.integers(0, 9))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        late = {j for j, t in self.reserved.items() if t is not None and t <= self.now}
        assert set(self.slots.expire(self.now)) == late
        for job_id in late:
            del self.reserved[job_id]

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        self.slots.close("draining")
        self.closed = True

    @rule()
    def revoke(self) -> None:
        self.slots.revoke()
        self.reserved.clear()

    @invariant()
    def counts_agree_and_never_exceed(self) -> None:
        assert self.slots.reserved == len(self.reserved)
        assert self.slots.running == len(self.running)
        assert self.slots.reserved + self.slots.running <= 3
        assert self.slots.is_full == (self.used == 3)
        times = [t for t in self.reserved.values() if t is not None]
        assert self.slots.next_expiry == min(times, default=None)


TestAdmissionMachine = AdmissionMachine.TestCase
