"""The one rule of exponential back-off."""

from __future__ import annotations

from itertools import accumulate, repeat

from vsdk_trio.system.backoff import next_delay


def test_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    waits = accumulate(
        repeat(0.0, 6), lambda previous, _: next_delay(previous, first=0.5, longest=3.0)
    )
    assert list(waits) == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_failures_for_days_do_not_overflow() -> None:
    wait = 0.0
    for _ in range(100_000):
        wait = next_delay(wait, first=0.1, longest=30.0)
    assert wait == 30.0
