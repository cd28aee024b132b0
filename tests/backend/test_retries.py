"""What follows failures: delays, and the end."""

from __future__ import annotations

import random

import pytest

from vsdk_trio.backend.retries import Retries
from vsdk_trio.errors import (
    ApiError,
    ConnectError,
    RegistrationRefusedError,
    RegistryUnreachableError,
)


def failed(
    retries: Retries, error: Exception | None = None, now: float = 0.0, **how: bool
) -> float:
    how = {"was_registered": False, "is_leaving": False, **how}
    return retries.delay_after(error or ConnectError("away"), now=now, **how)


def test_delays_grow_and_then_it_ends():
    retries = Retries(6, random.Random(0), lambda error: True)
    delays = [failed(retries, now=now) for now in (0, 3, 6, 12, 24, 29)]
    assert all(
        limit / 2 <= delay <= limit
        for delay, limit in zip(delays, (1, 1, 2, 4, 8, 29 / 3), strict=True)
    )
    cause = ConnectError("away")
    with pytest.raises(RegistryUnreachableError, match="7 attempts: away") as caught:
        failed(retries, cause, now=30)
    assert caught.value.__cause__ is cause


def test_a_refusal_ends_it_at_once():
    with pytest.raises(RegistrationRefusedError, match="no"):
        failed(Retries(16, random.Random(0), lambda e: True), RegistrationRefusedError("no"))


def test_the_slowest_pace_where_it_must_not_end():
    asked = []

    def give_up(error: Exception) -> bool:
        asked.append(type(error))
        return False

    retries = Retries(0, random.Random(0), give_up)
    for error in (ConnectError("away"), RegistrationRefusedError("no")):
        assert 5 <= failed(retries, error) <= 10
    assert asked == [RegistryUnreachableError, RegistrationRefusedError]


def test_who_leaves_has_little_time_and_is_not_asked():
    def give_up(error: Exception) -> bool:
        raise AssertionError("the flush has a deadline of its own")

    retries = Retries(0, random.Random(0), give_up)
    for error in (ConnectError("away"), RegistrationRefusedError("no")):
        assert 0.25 <= failed(retries, error, is_leaving=True) <= 1
    later = ApiError("later", status=503, retry_after=3)
    assert failed(retries, later, is_leaving=True) == 3


def test_retry_after_is_honoured_within_reason():
    retries = Retries(16, random.Random(0), lambda error: True)
    assert failed(retries, ApiError("later", status=503, retry_after=30)) == 30
    assert failed(retries, ApiError("later", status=503, retry_after=86400)) == 60


def test_only_a_stable_session_counts_as_a_success():
    retries = Retries(1, random.Random(0), lambda error: True)
    retries.registered(0.0)
    failed(retries, was_registered=True)
    retries.registered(0.0)
    with pytest.raises(RegistryUnreachableError):
        failed(retries, was_registered=True)
    retries = Retries(1, random.Random(0), lambda error: True)
    for start in (0.0, 100.0, 200.0):
        retries.registered(start)
        delay = retries.delay_after(
            ConnectError("x"), was_registered=True, now=start + 50, is_leaving=False
        )
        assert 0 <= delay <= 1
