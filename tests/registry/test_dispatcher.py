"""The dispatcher: offers, answers, losses, updates and ends, each as events in and actions out."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.registry.actions import (
    Assign,
    DispatchError,
    DispatchFailure,
    Ended,
    Offer,
    Settled,
    Terminate,
    UnknownJobError,
)
from vsdk_trio.registry.dispatcher import WORKER_LOST, Dispatcher
from vsdk_trio.registry.ledger import DispatchRequest, Job, Ledger, LedgerState
from vsdk_trio.registry.placement import Policy
from vsdk_trio.registry.roster import RegisteredWorker, Roster


class Desk:
    """A dispatcher with its tables, and short names for what a test does to it."""

    def __init__(self, *workers: str, **policy: Any) -> None:
        self.ledger = Ledger()
        self.roster = Roster()
        self.dispatcher = Dispatcher(Policy(**policy), self.ledger, self.roster)
        for worker_id in workers:
            self.join(worker_id)

    def join(self, worker_id: str, now: float = 0.0, **fields: Any) -> list[Any]:
        worker = RegisteredWorker(worker_id=worker_id, agent_id="a", **fields)
        return list(self.dispatcher.worker_joined(worker, now))

    def dispatch(self, job_id: str = "j", now: float = 0.0, agent_id: str = "a") -> list[Any]:
        request = DispatchRequest(agent_id=agent_id, room_id="r", metadata={"k": "v"})
        return list(self.dispatcher.dispatch(job_id, request, now))

    def answer(self, worker_id: str, available: bool, now: float = 0.0) -> list[Any]:
        return list(self.dispatcher.offer_answered(worker_id, "j", available=available, now=now))

    def update(self, worker_id: str, status: str, now: float = 0.0, **fields: Any) -> list[Any]:
        job_id = fields.pop("job_id", "j")
        return list(
            self.dispatcher.job_updated(worker_id, job_id, status=status, now=now, **fields)
        )

    def report(self, worker_id: str, now: float = 0.0, **fields: Any) -> list[Any]:
        report: dict[str, Any] = {"status": "available", "load": 0.0, "job_count": 0} | fields
        return list(self.dispatcher.worker_reported(worker_id, now=now, **report))

    def job(self, job_id: str = "j") -> Job:
        job = self.ledger.get(job_id)
        assert job is not None
        return job

    def assigned(self) -> Desk:
        self.dispatch()
        self.answer("w1", True)
        return self

    def running(self) -> Desk:
        self.assigned()
        self.update("w1", "running")
        return self


def offered_to(actions: list[Any]) -> list[str]:
    return [action.worker_id for action in actions if isinstance(action, Offer)]


def test_a_job_from_the_dispatch_to_its_end() -> None:
    desk = Desk("w1")
    assert offered_to(desk.dispatch(now=1.0)) == ["w1"]
    assign, settled = desk.answer("w1", True, now=2.0)
    assert isinstance(assign, Assign)
    assert assign.job.request.metadata == {"k": "v"}
    assert settled == Settled(desk.job())
    assert desk.update("w1", "running", now=3.0, participant_identity="p") == []
    assert desk.job().request.metadata is None  # what runs needs it no more
    (ended,) = desk.update("w1", "completed", now=4.0, participant_name="n")
    job = desk.job()
    assert ended == Ended(job)
    assert (job.created, job.assigned, job.started, job.ended) == (1.0, 2.0, 3.0, 4.0)
    assert (job.state, job.participant_identity, job.participant_name) == (
        LedgerState.COMPLETED,
        "p",
        "n",
    )
    assert job.request.metadata is None
    assert desk.roster.linked("w1").jobs == frozenset()


def test_the_three_ways_to_have_no_worker() -> None:
    desk = Desk()
    with pytest.raises(DispatchError, match="Agent Not Deployed"):
        desk.dispatch()
    desk.join("w1")
    desk.dispatcher.worker_lost("w1", 0.0)
    with pytest.raises(DispatchError, match="No Workers Registered"):
        desk.dispatch()
    desk.join("w1", capacity=1)
    desk.dispatch("j1")
    settled, ended = desk.dispatch("j2")
    assert settled.failure is DispatchFailure.NO_WORKERS_AVAILABLE
    assert ended.job.state is LedgerState.FAILED


def test_too_many_open_jobs_and_a_job_id_used_twice() -> None:
    desk = Desk("w1", max_open_jobs=2)
    desk.dispatch()
    with pytest.raises(IllegalTransitionError):
        desk.dispatch()
    desk.dispatch("j2")
    with pytest.raises(DispatchError, match="Too Many Jobs"):
        desk.dispatch("j3")


def test_a_refusal_goes_to_the_next_worker_until_there_is_none() -> None:
    desk = Desk("w1", "w2")
    assert offered_to(desk.dispatch()) == ["w1"]
    assert offered_to(desk.answer("w1", False)) == ["w2"]
    assert desk.answer("w1", True) == []  # not its offer any more
    settled, _ = desk.answer("w2", False)
    assert settled.failure is DispatchFailure.NO_WORKERS_AVAILABLE
    assert desk.answer("w2", True) == []


def test_no_answer_in_time_is_a_refusal() -> None:
    desk = Desk("w1", "w2", offer_timeout=5.0)
    desk.dispatch()
    assert desk.dispatcher.next_deadline() == 5.0
    assert desk.dispatcher.tick(4.9) == []
    assert offered_to(desk.dispatcher.tick(5.0)) == ["w2"]
    settled, _ = desk.dispatcher.tick(10.0)
    assert settled == Settled(desk.job(), DispatchFailure.NO_WORKERS_AVAILABLE)
    assert desk.dispatcher.next_deadline() is None
    assert desk.dispatcher.tick(99.0) == []


def test_an_unknown_answer_changes_nothing() -> None:
    assert Desk("w1").answer("w1", True) == []


def test_a_burst_is_spread_by_what_is_outstanding() -> None:
    desk = Desk()
    desk.join("w1", capacity=10)
    desk.join("w2", capacity=10)
    desk.report("w1", load=0.15)
    to = [offered_to(desk.dispatch(f"j{n}"))[0] for n in range(6)]
    assert to == ["w2", "w2", "w1", "w2", "w1", "w2"]


def test_a_lost_worker_passes_its_offers_on_at_once() -> None:
    desk = Desk("w1", "w2")
    desk.dispatch()
    assert offered_to(desk.dispatcher.worker_lost("w1", 0.0)) == ["w2"]
    settled, _ = desk.dispatcher.worker_lost("w2", 0.0)
    assert settled.failure is DispatchFailure.NO_WORKERS_REGISTERED


def test_a_lost_worker_has_a_grace_for_what_it_runs_then_it_is_presumed_failed() -> None:
    desk = Desk("w1", reconnect_grace=60.0).running()
    assert desk.dispatcher.worker_lost("w1", 10.0) == []
    assert desk.dispatcher.next_deadline() == 70.0
    (ended,) = desk.dispatcher.tick(70.0)
    assert (ended.job.state, ended.job.error, ended.job.presumed) == (
        LedgerState.FAILED,
        WORKER_LOST,
        True,
    )
    assert desk.roster.all() == ()


def test_what_the_worker_says_later_corrects_a_presumption() -> None:
    desk = Desk("w1").running()
    desk.dispatcher.worker_lost("w1", 0.0)
    desk.dispatcher.tick(60.0)
    desk.join("w1", 90.0)
    assert desk.update("w1", "running", 91.0) == []
    assert (desk.job().state, desk.job().ended) == (LedgerState.RUNNING, None)
    assert desk.roster.linked("w1").jobs == {"j"}
    desk.dispatcher.worker_lost("w1", 100.0)
    desk.dispatcher.tick(160.0)
    desk.join("w1", 170.0)
    (ended,) = desk.update("w1", "completed", 171.0)
    assert (ended.job.state, ended.job.presumed) == (LedgerState.COMPLETED, False)
    assert desk.update("w1", "failed", 172.0) == []  # the first word stands


def test_a_termination_asked_for_in_vain_is_asked_again() -> None:
    desk = Desk("w1").running()
    desk.dispatcher.worker_lost("w1", 0.0)
    assert desk.dispatcher.terminate("j", "enough", 1.0) == []
    assert desk.join("w1", 2.0) == [Terminate("w1", "j", "enough")]
    desk.dispatcher.tick(60.0)
    assert desk.update("w1", "running", 61.0) == [Terminate("w1", "j", "enough")]


def test_a_worker_that_is_forgotten_cannot_be_told_to_stop() -> None:
    desk = Desk("w1").running()
    desk.dispatcher.worker_lost("w1", 0.0)
    desk.dispatcher.tick(60.0)
    assert desk.dispatcher.terminate("j", "enough", 61.0) == []
    assert desk.job().terminating is None


def test_a_worker_that_comes_back_gets_again_what_it_may_have_missed() -> None:
    desk = Desk("w1").assigned()
    desk.dispatcher.worker_lost("w1", 0.0)
    assert desk.join("w1", 1.0) == [Assign("w1", desk.job())]
    assert desk.dispatcher.next_deadline() == 60.0  # until it says how the job stands
    desk.update("w1", "running", 2.0)
    assert desk.dispatcher.next_deadline() is None


def test_the_published_client_announces_nothing_so_its_return_is_enough() -> None:
    desk = Desk()
    desk.join("w1", reannounces=False)
    desk.running()
    desk.dispatcher.worker_lost("w1", 0.0)
    assert desk.join("w1", 1.0, reannounces=False) == []
    assert desk.dispatcher.next_deadline() is None

    desk = Desk()
    desk.join("w1", reannounces=False)
    desk.assigned()
    desk.dispatcher.worker_lost("w1", 0.0)
    assert desk.join("w1", 1.0, reannounces=False) == []  # it would run the job twice
    assert desk.dispatcher.next_deadline() == 60.0


def test_a_stale_link_is_taken_over_with_its_jobs_and_its_offers() -> None:
    desk = Desk("w1").running()
    desk.dispatch("j2")
    actions = desk.join("w1", 5.0)
    assert [(offer.worker_id, offer.job.job_id) for offer in actions] == [("w1", "j2")]
    assert desk.roster.linked("w1").jobs == {"j", "j2"}
    assert desk.job().deadline == 65.0


def test_termination_before_and_after_a_worker_has_the_job() -> None:
    desk = Desk("w1")
    with pytest.raises(UnknownJobError):
        desk.dispatcher.terminate("j", "x", 0.0)
    desk.dispatch()
    settled, ended = desk.dispatcher.terminate("j", "x", 0.0)
    assert settled == Settled(desk.job(), DispatchFailure.TERMINATED)
    assert ended.job.state is LedgerState.CANCELLED
    assert desk.dispatcher.terminate("j", "again", 0.0) == []

    desk = Desk("w1").running()
    assert desk.dispatcher.terminate("j", "x", 0.0) == [Terminate("w1", "j", "x")]
    (ended,) = desk.update("w1", "completed", error="x")  # the deployed words for cancelled
    assert ended.job.state is LedgerState.CANCELLED


def test_only_the_worker_that_has_a_job_speaks_for_it_and_all_is_recorded() -> None:
    desk = Desk("w1", "w2")
    desk.dispatch()
    desk.update("w1", "completed")  # it has only been offered
    desk.answer("w1", True)
    desk.update("w2", "failed")
    desk.update("w1", "a new word")
    desk.update("w1", "completed")
    assert [(u.worker_id, u.status, u.applied) for u in desk.ledger.updates()] == [
        ("w1", "completed", False),
        ("w2", "failed", False),
        ("w1", "a new word", False),
        ("w1", "completed", True),
    ]
    assert desk.job().state is LedgerState.COMPLETED


def test_a_running_job_that_nobody_dispatched_is_adopted_within_the_capacity() -> None:
    desk = Desk()
    desk.join("w1", capacity=1)
    desk.update("w1", "completed", job_id="j0")  # nothing to follow
    desk.update("w1", "running", job_id="j1")
    desk.update("w1", "running", job_id="j2")  # beyond what it can run
    assert [(j.job_id, j.adopted, j.state) for j in desk.ledger.jobs()] == [
        ("j1", True, LedgerState.RUNNING)
    ]
    assert not desk.roster.linked("w1").is_taking


def test_with_patience_a_job_waits_for_news_of_a_worker() -> None:
    desk = Desk(queue_timeout=10.0)
    desk.join("w1", capacity=1)
    desk.dispatch("j1")
    assert desk.dispatch("j2") == []
    assert desk.job("j2").state is LedgerState.PENDING
    desk.dispatcher.offer_answered("w1", "j1", available=True, now=0.0)
    actions = desk.update("w1", "completed", job_id="j1")
    assert offered_to(actions) == ["w1"]
    assert desk.dispatcher.offer_answered("w1", "j2", available=False, now=1.0) == []
    assert offered_to(desk.join("w1", now=2.0, capacity=1)) == ["w1"]
    desk.dispatcher.offer_answered("w1", "j2", available=False, now=9.5)
    desk.dispatcher.worker_joined(RegisteredWorker(worker_id="w9", agent_id="other"), 4.0)
    settled, _ = desk.dispatcher.tick(10.0)
    assert settled.failure is DispatchFailure.NO_WORKERS_AVAILABLE
    assert desk.report("w1", now=11.0) == []
    assert desk.report("w1", now=11.0) == []  # forgotten


def test_a_place_that_a_withdrawn_offer_leaves_is_for_a_job_that_waits() -> None:
    desk = Desk(queue_timeout=60.0)
    desk.join("w1", capacity=1)
    desk.dispatch("j1")
    desk.dispatch("j2")
    assert offered_to(desk.dispatcher.terminate("j1", "withdrawn", 1.0)) == []
    late = desk.dispatcher.offer_answered("w1", "j1", available=True, now=1.1)
    assert [action.job.job_id for action in late] == ["j2"]


def test_a_report_costs_no_more_among_many_workers_than_among_few() -> None:
    found = []
    for number_of_workers in (5, 50):
        names = [f"w{number}" for number in range(number_of_workers)]
        desk = Desk(*names, queue_timeout=60.0)
        for job_id in ("j1", "j2", "j3"):
            desk.dispatch(job_id)
            while (worker_id := desk.job(job_id).worker_id) is not None:
                desk.dispatcher.offer_answered(worker_id, job_id, available=False, now=0.0)
        calls = Counter[str]()

        def note(frame: Any, event: str, _: object, calls: Counter[str] = calls) -> None:
            if event == "call":
                calls[frame.f_code.co_qualname] += 1

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            assert desk.report("w3", 0.1) == []
        finally:
            sys.setprofile(before)
        found.append(calls)
    few, many = found
    assert many - few == Counter()


class Waiting(Desk):
    """A job waits, because its only worker has refused it at 0."""

    def __init__(self, **report: Any) -> None:
        super().__init__("w1", queue_timeout=60.0)
        self.report("w1", **report)
        self.dispatch()
        assert self.answer("w1", False) == []


def test_a_refusal_stands_until_there_is_news_of_the_worker() -> None:
    busy = {"load": 0.5, "job_count": 2}
    for same in (busy, busy | {"load": 0.45}, busy | {"load": 0.9}, busy | {"job_count": 3}):
        assert Waiting(**busy).report("w1", 0.1, **same) == []
    for freer in (busy | {"load": 0.4}, busy | {"job_count": 1}):
        assert offered_to(Waiting(**busy).report("w1", 0.1, **freer)) == ["w1"]
    desk = Waiting()
    assert desk.report("w1", 0.1, status="draining") == []
    assert offered_to(desk.report("w1", 0.2)) == ["w1"]
    desk = Waiting()
    desk.update("w1", "running", 0.1, job_id="j0")
    assert offered_to(desk.update("w1", "completed", 0.2, job_id="j0")[1:]) == ["w1"]
    assert offered_to(Waiting().join("w1", 0.1)) == ["w1"]


def test_a_worker_that_is_full_while_it_decides_is_not_asked_in_a_loop() -> None:
    desk = Desk("w1", queue_timeout=60.0)
    asked = len(offered_to(desk.dispatch()))
    for n in range(100):
        now = n / 20
        asked += len(offered_to(desk.report("w1", now, status="busy", load=1.0)))
        asked += len(offered_to(desk.answer("w1", False, now)))
        asked += len(offered_to(desk.report("w1", now)))
        asked += len(offered_to(desk.dispatcher.tick(now)))
    assert asked == 3  # at 0, 1 and 3 s


def test_without_news_it_is_asked_after_a_pause_that_doubles() -> None:
    desk = Desk("w1", queue_timeout=20.0)
    desk.dispatch()
    now, asked_at = 0.0, [0.0]
    while desk.answer("w1", False, now) == []:
        now = desk.dispatcher.next_deadline() or 0.0
        actions = desk.dispatcher.tick(now)
        if not offered_to(actions):
            break
        asked_at.append(now)
    assert asked_at == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0]
    assert (now, actions[0].failure) == (20.0, DispatchFailure.NO_WORKERS_AVAILABLE)
    assert desk.job().asked == {}


def test_others_are_asked_at_once_and_nobody_twice_when_patience_is_over() -> None:
    desk = Desk("w1", "w2", queue_timeout=2.0)
    desk.dispatch()
    assert offered_to(desk.answer("w1", False, 0.5)) == ["w2"]
    assert desk.join("w3", 0.6) == []  # it is with w2
    assert offered_to(desk.answer("w2", False, 2.5)) == ["w3"]
    settled, _ = desk.answer("w3", False, 3.9)  # w1 might be asked since 1.5
    assert settled.failure is DispatchFailure.NO_WORKERS_AVAILABLE


def test_one_that_let_its_offer_expire_is_asked_again_after_a_sign_of_life() -> None:
    desk = Desk("w1", queue_timeout=60.0)
    desk.dispatch()
    assert desk.dispatcher.tick(5.0) == []
    assert desk.dispatcher.next_deadline() == 60.0
    assert offered_to(desk.report("w1", 30.0)) == ["w1"]


def test_a_place_that_a_refusal_frees_is_for_the_next_that_waits() -> None:
    desk = Desk(queue_timeout=60.0)
    desk.join("w1", capacity=1)
    desk.dispatch()
    assert desk.dispatch("j2") == []
    [offer] = desk.answer("w1", False, 0.1)
    assert (offer.worker_id, offer.job.job_id) == ("w1", "j2")


def test_a_waiting_job_can_be_terminated() -> None:
    desk = Desk("w1", queue_timeout=10.0)
    desk.dispatch()
    desk.answer("w1", False)
    settled, _ = desk.dispatcher.terminate("j", "x", 1.0)
    assert settled.failure is DispatchFailure.TERMINATED


def test_a_worker_without_a_link_cannot_speak() -> None:
    desk = Desk("w1").running()
    desk.dispatcher.worker_lost("w1", 0.0)
    before = desk.job()
    for event in (
        lambda: desk.dispatcher.worker_lost("w1", 1.0),
        lambda: desk.report("w1"),
        lambda: desk.answer("w1", True),
        lambda: desk.update("w1", "completed"),
    ):
        with pytest.raises(IllegalTransitionError):
            event()
    assert desk.job() == before
    assert desk.ledger.updates()[-1].status == "running"


def test_a_report_that_cannot_be_is_clamped() -> None:
    desk = Desk("w1")
    desk.report("w1", load=-3.0, job_count=-1)
    worker = desk.roster.linked("w1")
    assert (worker.load, worker.job_count) == (0.0, 0)
