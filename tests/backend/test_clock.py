"""The registry's clock: what the `Date` of an answer says of it."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.backend.token import PeerClock, parse_date


@given(st.integers(0, 4_000_000_000))
def test_every_date_of_http(moment: int) -> None:
    assert parse_date(formatdate(moment, usegmt=True).encode()) == moment


@given(st.binary(max_size=40))
def test_what_is_no_date_says_nothing(text: bytes) -> None:
    clock = PeerClock(lambda: 1000.0)
    clock.note(text)
    assert clock.is_known == (parse_date(text) is not None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"now",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nuv 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Nov 1994 08:49:37 CET",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
    ],
)
def test_no_dates(text: bytes) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("ahead", "is_off", "told"),
    [
        (0, False, ""),
        (-1, False, ""),
        (1, False, ""),
        (95, True, "its clock is 95 s ahead of this machine's"),
        (-3600, True, "its clock is 3600 s behind this machine's"),
    ],
)
def test_the_difference(ahead: int, is_off: bool, told: str) -> None:
    clock = PeerClock(lambda: 784_111_777.5)
    clock.note(formatdate(784_111_777 + ahead, usegmt=True).encode())
    assert (clock.is_known, clock.is_off, clock.ahead_seconds) == (True, is_off, ahead)
    assert not is_off or str(clock) == told
    clock.note(b"nonsense")
    assert clock.ahead_seconds == ahead
