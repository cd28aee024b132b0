"""The retry schedule: how soon, how often at most, when it ends, and what starts it anew."""

from __future__ import annotations

import random
from bisect import bisect_left
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.backend.retries import Backoff
from vsdk_trio.errors import IllegalTransitionError


class Longest(random.Random):
    """Always draws the longest delay, so that a test sees it."""

    def uniform(self, a: float, b: float) -> float:
        assert a in (0, b / 2)
        return b


def attempts(backoff: Backoff, began: float, until: float) -> list[float]:
    """When a worker tries that lost a stable session at `began`; the last one is after `until`."""
    backoff.registered(began - 100)
    delay = backoff.lost(began)
    times = []
    while delay is not None:
        times.append((times or [began])[-1] + delay)
        if times[-1] > until:
            break
        delay = backoff.failed(times[-1])
    return times


def test_the_delay_follows_the_length_of_the_outage() -> None:
    backoff = Backoff(rng=Longest())
    delays = [backoff.failed(now) for now in (0, 1, 3, 6, 15, 30, 100)]
    assert delays == [1, 1, 1, 2, 5, 10, 10]


@pytest.mark.parametrize(("max_retry", "seconds"), [(1, 0), (2, 2), (5, 20), (16, 130)])
def test_tries_do_not_end_before_the_references_schedule_does(
    max_retry: int, seconds: float
) -> None:
    times = attempts(Backoff(max_retry, rng=random.Random(0)), 0.0, 1000.0)
    assert seconds <= times[-1] < 1000
    assert len(times) >= max_retry


def test_no_retries_at_all() -> None:
    assert Backoff(0, rng=Longest()).failed(0) is None


def test_a_stable_session_starts_a_new_count() -> None:
    backoff = Backoff(1, rng=Longest(), stable_after=10)
    assert [backoff.failed(0), backoff.failed(1)] == [1, None]
    backoff.registered(100)
    assert backoff.lost(110) == 0.2
    assert backoff.tries == 1
    assert backoff.failed(111) is None


def test_a_session_that_is_dropped_at_once_counts_as_a_failure() -> None:
    backoff = Backoff(3, rng=Longest(), stable_after=10)
    delays = []
    for start in (0.0, 20.0, 40.0, 60.0):
        backoff.registered(start)
        delays.append(backoff.lost(start + 0.9))
    assert delays == [1, pytest.approx(20 / 3), 10, None]


def test_each_of_twenty_resets_is_followed_by_a_try_at_once() -> None:
    backoff = Backoff(rng=random.Random(0))
    for start in range(0, 60, 3):
        backoff.registered(start)
        delay = backoff.lost(start + 2)
        assert delay is not None
        assert delay <= 0.2


def test_after_three_seconds_away_the_registry_is_found_within_one() -> None:
    late = [attempts(Backoff(rng=random.Random(seed)), 0.0, 3.0)[-1] - 3 for seed in range(300)]
    assert median(late) < 0.6
    assert max(late) <= 1.0


def test_a_fleet_of_a_thousand_comes_back_evenly() -> None:
    """What reaches a registry that was away for 30 s: 200 attempts in any second at most."""
    arrivals = sorted(
        attempts(Backoff(rng=random.Random(seed)), 0.0, 30.0)[-1] - 30 for seed in range(1000)
    )
    busiest = max(bisect_left(arrivals, time + 1) - n for n, time in enumerate(arrivals))
    assert busiest <= 200
    assert arrivals[-1] <= 15


def test_illegal_events_change_nothing() -> None:
    backoff = Backoff(rng=Longest())
    with pytest.raises(IllegalTransitionError):
        backoff.lost(0)
    backoff.registered(0)
    with pytest.raises(IllegalTransitionError):
        backoff.registered(5)
    with pytest.raises(IllegalTransitionError):
        backoff.failed(5)
    assert backoff.tries == 0
    assert backoff.lost(10) == 0.2
    assert repr(backoff) == "<Backoff: 1 retries, at least 16>"


@given(seed=st.integers(), outage=st.floats(0, 1000))
def test_half_of_a_delay_is_jitter(seed: int, outage: float) -> None:
    longest, backoff = Backoff(1000, rng=Longest()), Backoff(1000, rng=random.Random(seed))
    for now in (0.0, outage):
        delay, limit = backoff.failed(now), longest.failed(now)
        assert delay is not None
        assert limit is not None
        assert limit / 2 <= delay <= limit <= backoff.slowest_seconds
