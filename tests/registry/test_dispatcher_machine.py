"""Any order of events: what must hold of jobs, workers and answers, whatever workers do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vsdk_trio.registry.actions import (
    Action,
    Assign,
    DispatchError,
    Ended,
    Offer,
    Settled,
    Terminate,
)
from vsdk_trio.registry.dispatcher import Dispatcher
from vsdk_trio.registry.ledger import DispatchRequest, Job, Ledger, LedgerState
from vsdk_trio.registry.placement import Policy
from vsdk_trio.registry.roster import RegisteredWorker, Roster

WORKERS = st.sampled_from(["w1", "w2", "w3"])
NUMBERS = st.integers(0, 7)
PATIENCE = 3.0


class DispatcherMachine(RuleBasedStateMachine):
    """Drives the dispatcher and keeps a naive book of links, offers and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.roster = Roster()
        policy = Policy(queue_timeout=PATIENCE, max_open_jobs=6)
        self.dispatcher = Dispatcher(policy, self.ledger, self.roster)
        self.now = 0.0
        self.linked: set[str] = set()
        self.dispatched: list[str] = []
        self.settled: dict[str, bool] = {}
        self.ended: set[str] = set()
        self.refused: dict[tuple[str, str], float] = {}
        self.reports: dict[str, tuple[str, float, int] | None] = {}
        self.has_news: set[tuple[str, str]] = set()

    def note_news(self, worker_id: str) -> None:
        self.has_news.update((job_id, worker_id) for job_id in self.dispatched)

    def check_offer(self, worker_id: str, job: Job) -> None:
        """Who has refused a job is asked again after news or a pause, while there is patience."""
        key = job.job_id, worker_id
        refused = self.refused.pop(key, None)
        if refused is not None:
            assert key in self.has_news or self.now >= refused + 1.0
            assert self.now < job.created + PATIENCE
        self.has_news.discard(key)

    def book(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Offer):
                self.check_offer(action.worker_id, action.job)
            match action:
                case Offer(worker_id, job) | Assign(worker_id, job):
                    assert worker_id in self.linked
                    assert job.worker_id == worker_id
                case Terminate(worker_id, _, _):
                    assert worker_id in self.linked
                case Settled(job, failure):
                    assert job.job_id not in self.settled, "one answer to one dispatch"
                    self.settled[job.job_id] = failure is None
                case Ended(job):
                    assert job.state.ended
                    self.ended.add(job.job_id)

    def job_id(self, number: int) -> str:
        return self.dispatched[number % len(self.dispatched)] if self.dispatched else "unknown"

    @rule()
    def dispatch(self) -> None:
        job_id = f"j{len(self.dispatched)}"
        try:
            actions = self.dispatcher.dispatch(
                job_id, DispatchRequest(agent_id="a", room_id="r"), self.now
            )
        except DispatchError:
            assert self.ledger.get(job_id) is None
            return
        self.dispatched.append(job_id)
        self.book(actions)

    @rule(worker_id=WORKERS, capacity=st.sampled_from([None, 1, 2]), reannounces=st.booleans())
    def join(self, worker_id: str, capacity: int | None, reannounces: bool) -> None:
        self.linked.add(worker_id)
        self.reports[worker_id] = None
        self.note_news(worker_id)
        worker = RegisteredWorker(
            worker_id=worker_id, agent_id="a", capacity=capacity, reannounces=reannounces
        )
        self.book(self.dispatcher.worker_joined(worker, self.now))

    @precondition(lambda self: self.linked)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.linked)))
        self.linked.remove(worker_id)
        self.book(self.dispatcher.worker_lost(worker_id, self.now))

    @precondition(lambda self: self.linked)
    @rule(data=st.data(), number=NUMBERS, available=st.booleans())
    def answer(self, data: st.DataObject, number: int, available: bool) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.linked)))
        job = self.ledger.get(self.job_id(number))
        is_its_offer = job is not None and job.state is LedgerState.OFFERED
        if job is not None and is_its_offer and job.worker_id == worker_id and not available:
            self.refused[job.job_id, worker_id] = self.now
        self.book(
            self.dispatcher.offer_answered(
                worker_id, self.job_id(number), available=available, now=self.now
            )
        )

    @precondition(lambda self: self.linked)
    @rule(
        data=st.data(),
        number=NUMBERS,
        status=st.sampled_from(["running", "completed", "failed", "cancelled", "junk"]),
    )
    def update(self, data: st.DataObject, number: int, status: str) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.linked)))
        seen = len(self.ledger.updates())
        job_id = self.job_id(number)
        if status in {"completed", "failed", "cancelled"}:
            self.note_news(worker_id)
        self.book(self.dispatcher.job_updated(worker_id, job_id, status=status, now=self.now))
        assert len(self.ledger.updates()) == seen + 1

    @precondition(lambda self: self.linked)
    @rule(
        data=st.data(),
        status=st.sampled_from(["available", "available", "draining"]),
        load=st.sampled_from([0.0, 0.5]),
        job_count=st.integers(0, 1),
    )
    def report(self, data: st.DataObject, status: str, load: float, job_count: int) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.linked)))
        report = status, load, job_count
        if report != self.reports[worker_id]:
            self.note_news(worker_id)
        self.reports[worker_id] = report
        self.book(
            self.dispatcher.worker_reported(
                worker_id, status=status, load=load, job_count=job_count, now=self.now
            )
        )

    @precondition(lambda self: self.dispatched)
    @rule(number=NUMBERS)
    def terminate(self, number: int) -> None:
        self.book(self.dispatcher.terminate(self.job_id(number), "enough", self.now))

    @rule(seconds=st.sampled_from([0.5, 3.0, 5.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.book(self.dispatcher.tick(self.now))
        deadline = self.dispatcher.next_deadline()
        assert deadline is None or deadline > self.now

    @invariant()
    def workers_hold_exactly_the_jobs_that_name_them(self) -> None:
        holding = {LedgerState.OFFERED, LedgerState.ASSIGNED, LedgerState.RUNNING}
        for worker in self.roster.all():
            named = {
                job.job_id
                for job in self.ledger.jobs()
                if job.state in holding and job.worker_id == worker.worker_id
            }
            assert worker.jobs == named
            assert worker.away is (worker.worker_id not in self.linked)
        known = {worker.worker_id for worker in self.roster.all()}
        assert self.linked <= known
        for job in self.ledger.jobs():
            assert job.state not in holding or job.worker_id in known

    @invariant()
    def whatever_waits_has_a_deadline_and_nothing_else_does(self) -> None:
        for job in self.ledger.jobs():
            if job.state in {LedgerState.PENDING, LedgerState.OFFERED}:
                assert job.deadline is not None
                is_waiting = job.state is LedgerState.PENDING
                assert not is_waiting or job.deadline <= job.created + PATIENCE
            elif job.state.ended:
                assert job.deadline is None
            elif job.worker_id not in self.linked:
                assert job.deadline is not None

    @invariant()
    def a_dispatch_is_answered_when_it_is_decided(self) -> None:
        for job_id in self.dispatched:
            job = self.ledger.get(job_id)
            assert job is not None
            undecided = job.state in {LedgerState.PENDING, LedgerState.OFFERED}
            assert (job_id in self.settled) is not undecided
            assert not job.state.ended or job_id in self.ended

    def teardown(self) -> None:
        """With every worker gone and time gone by, nothing is open."""
        for worker_id in sorted(self.linked):
            self.book(self.dispatcher.worker_lost(worker_id, self.now))
        self.book(self.dispatcher.tick(self.now + 1_000.0))
        assert self.ledger.open_count == 0
        assert self.roster.all() == ()


DispatcherMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
TestDispatcherMachine = DispatcherMachine.TestCase
