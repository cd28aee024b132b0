"""The retry schedule: its ceilings, its end, and what earns a reset."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.protocol.backoff import Backoff


class Longest(random.Random):
    """Always draws the ceiling, so that a test sees it."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        return b


def test_the_references_schedule_with_room_for_jitter_at_its_start() -> None:
    backoff = Backoff(rng=Longest())
    assert [backoff.failed() for _ in range(18)] == [1, 2, 4, 6, 8, *[10] * 11, None, None]
    assert backoff.tries == 16
    assert backoff.slowest_seconds == 10
    assert repr(backoff) == "<Backoff: 16 of 16 retries used>"


def test_no_retries_at_all() -> None:
    assert Backoff(0, rng=Longest()).failed() is None


def test_a_stable_session_starts_a_new_count() -> None:
    backoff = Backoff(3, rng=Longest(), stable_after=10)
    assert [backoff.failed() for _ in range(3)] == [1, 2, 4]
    backoff.registered(100)
    assert backoff.lost(110) == 1
    assert backoff.tries == 1
    assert [backoff.failed() for _ in range(3)] == [2, 4, None]


def test_a_session_that_is_dropped_at_once_counts_as_a_failure() -> None:
    backoff = Backoff(3, rng=Longest(), stable_after=10)
    delays = []
    for start in (0.0, 20.0, 40.0, 60.0):
        backoff.registered(start)
        delays.append(backoff.lost(start + 9.9))
    assert delays == [1, 2, 4, None]


def test_used_up_is_not_for_ever() -> None:
    backoff = Backoff(1, rng=Longest())
    assert [backoff.failed(), backoff.failed()] == [1, None]
    backoff.registered(50)
    assert backoff.lost(60) == 1


def test_illegal_events_change_nothing() -> None:
    backoff = Backoff(rng=Longest())
    with pytest.raises(IllegalTransitionError):
        backoff.lost(0)
    backoff.registered(0)
    with pytest.raises(IllegalTransitionError):
        backoff.registered(5)
    with pytest.raises(IllegalTransitionError):
        backoff.failed()
    assert backoff.tries == 0
    assert backoff.lost(10) == 1


@given(seed=st.integers(), failures=st.integers(1, 16))
def test_the_jitter_is_full(seed: int, failures: int) -> None:
    ceilings, backoff = Backoff(rng=Longest()), Backoff(rng=random.Random(seed))
    for _ in range(failures):
        delay, ceiling = backoff.failed(), ceilings.failed()
        assert delay is not None
        assert ceiling is not None
        assert 0 <= delay <= ceiling <= backoff.slowest_seconds
