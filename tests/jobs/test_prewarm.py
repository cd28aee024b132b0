from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vsdk_trio.jobs.prewarm import (
    AFTER_ANSWER_SECONDS,
    FIRST_RETRY_SECONDS,
    REFILL_DELAY_SECONDS,
    SLOWEST_RETRY_SECONDS,
    Census,
    Prewarm,
)

NOTHING = Census(idle=0, starting=0, running=0, waiting=0)


def census(idle: int = 0, starting: int = 0, running: int = 0, waiting: int = 0) -> Census:
    return Census(idle=idle, starting=starting, running=running, waiting=waiting)


def refill_in(prewarm: Prewarm, *, now: float) -> float:
    """Seconds until refilling is no longer held back."""
    return max(0.0, prewarm.refill_at - now)


def test_it_fills_up_a_few_at_a_time() -> None:
    prewarm = Prewarm(num_idle=5, max_processes=10, max_refills=2)
    assert prewarm.to_start(NOTHING, now=0) == 2
    assert prewarm.to_start(census(starting=2), now=0) == 0
    assert prewarm.to_start(census(idle=1, starting=1), now=0) == 1
    assert prewarm.to_start(census(idle=4), now=0) == 1
    assert prewarm.to_start(census(idle=5), now=0) == 0


def test_jobs_that_wait_are_served_at_once_and_all_together() -> None:
    prewarm = Prewarm(num_idle=0, max_processes=10, max_refills=2)
    assert prewarm.to_start(census(waiting=7), now=0) == 7
    assert prewarm.to_start(census(waiting=7, starting=7), now=0) == 0


def test_a_burst_of_jobs_does_not_start_more_than_the_machine_can_bear() -> None:
    prewarm = Prewarm(num_idle=3, max_processes=1000, max_starting=4)
    assert prewarm.to_start(census(waiting=500), now=0) == 4
    assert prewarm.to_start(census(waiting=500, starting=4), now=0) == 0
    assert prewarm.to_start(census(waiting=499, starting=3, running=1), now=0) == 1


def test_what_starts_for_a_job_is_not_counted_as_a_refill() -> None:
    prewarm = Prewarm(num_idle=1, max_processes=10, max_refills=2)
    assert prewarm.to_start(census(waiting=1), now=0) == 2
    assert prewarm.to_start(census(waiting=1, starting=1), now=0) == 1


def test_there_are_never_more_than_the_maximum() -> None:
    prewarm = Prewarm(num_idle=5, max_processes=3)
    assert prewarm.to_start(census(running=2), now=0) == 1
    assert prewarm.to_start(census(running=3, waiting=2), now=0) == 0
    assert prewarm.to_start(census(running=4), now=0) == 0


def test_a_refill_leaves_a_new_job_its_first_moments_but_not_for_ever() -> None:
    prewarm = Prewarm(num_idle=2, max_processes=10)
    prewarm.taken(1, now=1.0)
    prewarm.taken(2, now=1.0 + REFILL_DELAY_SECONDS / 2)
    assert prewarm.to_start(census(running=2), now=1.0) == 0
    assert refill_in(prewarm, now=1.0) == pytest.approx(REFILL_DELAY_SECONDS)
    later = 1.0 + REFILL_DELAY_SECONDS
    assert refill_in(prewarm, now=later) == 0
    assert prewarm.to_start(census(running=2), now=later) == 2


def test_a_refill_comes_soon_after_the_last_answer() -> None:
    prewarm = Prewarm(num_idle=2, max_processes=10)
    prewarm.taken(1, now=1.0)
    prewarm.taken(2, now=1.001)
    assert not prewarm.answered(1, now=1.002)
    assert not prewarm.answered(1, now=1.002)
    assert prewarm.to_start(census(running=2), now=1.01) == 0
    assert prewarm.answered(2, now=1.003)
    assert not prewarm.answered(2, now=1.003)
    assert prewarm.to_start(census(running=2), now=1.003) == 0
    assert prewarm.to_start(census(running=2, waiting=1), now=1.003) == 1
    assert refill_in(prewarm, now=1.003) == pytest.approx(AFTER_ANSWER_SECONDS)
    assert prewarm.to_start(census(running=2), now=1.004 + AFTER_ANSWER_SECONDS) == 2


def test_an_answer_does_not_put_a_refill_off() -> None:
    prewarm = Prewarm(num_idle=1, max_processes=10)
    prewarm.taken(1, now=1.0)
    assert not prewarm.answered(1, now=1.0 + REFILL_DELAY_SECONDS)
    assert prewarm.refill_at == 1.0 + REFILL_DELAY_SECONDS


def test_an_answer_does_not_shorten_a_back_off() -> None:
    prewarm = Prewarm(num_idle=1, max_processes=10)
    prewarm.taken(1, now=0)
    prewarm.failed(now=0)
    prewarm.answered(1, now=0)
    assert refill_in(prewarm, now=0) == FIRST_RETRY_SECONDS


def test_failures_hold_refills_back_longer_each_time_but_not_jobs() -> None:
    prewarm = Prewarm(num_idle=1, max_processes=10)
    delays = []
    for _ in range(30):
        prewarm.failed(now=0)
        delays.append(refill_in(prewarm, now=0))
    assert delays[:3] == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
    assert delays[-1] == SLOWEST_RETRY_SECONDS
    assert prewarm.to_start(NOTHING, now=0) == 0
    assert prewarm.to_start(census(waiting=2), now=0) == 2
    prewarm.became_ready()
    prewarm.failed(now=0)
    assert refill_in(prewarm, now=0) == FIRST_RETRY_SECONDS


def test_a_taken_process_does_not_shorten_a_back_off() -> None:
    prewarm = Prewarm(num_idle=1, max_processes=10)
    prewarm.failed(now=0)
    prewarm.taken(1, now=0.1)
    assert refill_in(prewarm, now=0) == FIRST_RETRY_SECONDS


def test_one_too_many_is_not_kept() -> None:
    prewarm = Prewarm(num_idle=1, max_processes=10)
    assert prewarm.wants_to_keep(NOTHING)
    assert not prewarm.wants_to_keep(census(idle=1))


@pytest.mark.parametrize(("idle", "most", "starting"), [(-1, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_impossible_numbers_are_refused(idle: int, most: int, starting: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        Prewarm(num_idle=idle, max_processes=most, max_starting=starting)


@given(*(st.integers(0, 6) for _ in range(7)))
def test_any_census_gives_a_number_that_fits(
    num_idle: int, most: int, few: int, idle: int, starting: int, running: int, waiting: int
) -> None:
    prewarm = Prewarm(
        num_idle=num_idle, max_processes=most + 1, max_refills=few + 1, max_starting=few + 4
    )
    before = census(idle, starting, running, waiting)
    number = prewarm.to_start(before, now=0)
    assert number >= 0
    assert number == 0 or before.processes + number <= most + 1


class PoolModel(RuleBasedStateMachine):
    """A naive pool that does what `Prewarm` says, with jobs, failures and deaths at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.prewarm = Prewarm(num_idle=2, max_processes=5, max_refills=2, max_starting=3)
        self.now = 0.0
        self.unanswered = self.pid = 0
        self.idle = self.starting = self.running = self.waiting = 0
        self.decide()

    def census(self) -> Census:
        return census(self.idle, self.starting, self.running, self.waiting)

    def decide(self) -> None:
        self.starting += self.prewarm.to_start(self.census(), now=self.now)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @precondition(lambda self: self.running + self.waiting < 5)
    @rule()
    def a_job_comes(self) -> None:
        if self.idle:
            self.idle -= 1
            self.running += 1
            self.unanswered += 1
            self.pid += 1
            self.prewarm.taken(self.pid, now=self.now)
        else:
            self.waiting += 1
        self.decide()

    @precondition(lambda self: self.unanswered)
    @rule()
    def a_job_runs(self) -> None:
        self.unanswered -= 1
        self.prewarm.answered(self.pid - self.unanswered, now=self.now)
        self.decide()

    @precondition(lambda self: self.starting)
    @rule(works=st.booleans())
    def a_start_ends(self, works: bool) -> None:
        self.starting -= 1
        if not works:
            self.prewarm.failed(now=self.now)
            if self.waiting > self.starting:
                self.waiting -= 1
        else:
            self.prewarm.became_ready()
            if self.waiting:
                self.waiting -= 1
                self.running += 1
            elif self.prewarm.wants_to_keep(self.census()):
                self.idle += 1
        self.decide()

    @precondition(lambda self: self.running)
    @rule()
    def a_job_ends(self) -> None:
        self.running -= 1
        self.decide()

    @precondition(lambda self: self.idle)
    @rule()
    def an_idle_process_dies(self) -> None:
        self.idle -= 1
        self.prewarm.failed(now=self.now)
        self.decide()

    @invariant()
    def bounded(self) -> None:
        assert self.census().processes <= 5
        assert self.idle <= 2

    @invariant()
    def every_job_that_waits_has_a_start_of_its_own_or_its_turn(self) -> None:
        assert self.starting >= min(self.waiting, 3)
        assert self.starting <= 3

    @invariant()
    def it_fills_up_in_the_end(self) -> None:
        if not refill_in(self.prewarm, now=self.now) and not self.waiting and self.running < 5:
            assert self.idle + self.starting > 0


TestPoolModel = PoolModel.TestCase
