"""The fan-out of observations: everybody is told, and one that fails harms nobody."""

from __future__ import annotations

import logging

import pytest

from vsdk_trio.telemetry.events import (
    AssignmentRepeated,
    Listener,
    Observation,
    Observers,
    PromiseExpired,
    unobserved,
)

FIRST = PromiseExpired(job_id="a")
SECOND = PromiseExpired(job_id="b")


def test_everybody_is_told_in_the_order_in_which_they_came() -> None:
    observers: Observers[Observation] = Observers()
    told: list[tuple[str, Observation]] = []
    observers.add(lambda seen: told.append(("one", seen)))
    observers.add(lambda seen: told.append(("two", seen)))
    observers(FIRST)
    assert told == [("one", FIRST), ("two", FIRST)]


def test_nobody_listening_is_fine() -> None:
    observers: Observers[Observation] = Observers()
    observers(FIRST)
    unobserved(FIRST)


def test_one_listens_for_the_length_of_a_block() -> None:
    observers: Observers[Observation] = Observers()
    told: list[Observation] = []
    with observers.listening(told.append):
        observers(FIRST)
    observers(SECOND)
    observers.remove(told.append)  # again is fine
    assert told == [FIRST]


def test_who_listens_to_one_kind_is_told_of_that_kind_whenever_it_begins() -> None:
    observers: Observers[Observation] = Observers()
    all_of_it: list[Observation] = []
    observers.add(all_of_it.append)
    observers(FIRST)
    repeated: list[Observation] = []
    one_kind = Listener[Observation]({AssignmentRepeated: repeated.append})
    other = AssignmentRepeated(job_id="a")
    with observers.listening(one_kind):
        observers(FIRST)
        observers(other)
    observers(other)
    assert repeated == [other]
    assert all_of_it == [FIRST, FIRST, other, other]
    one_kind(FIRST)
    one_kind(other)
    assert repeated == [other, other]


def test_a_listener_that_fails_at_one_kind_is_told_of_no_other() -> None:
    observers: Observers[Observation] = Observers()
    told: list[Observation] = []

    def broken(seen: Observation) -> None:
        raise ValueError("a bug")

    observers.add(Listener({PromiseExpired: broken, AssignmentRepeated: told.append}))
    observers(FIRST)
    observers(AssignmentRepeated(job_id="a"))
    assert told == []
    assert len(observers.dropped) == 1


def test_one_that_fails_is_not_told_again_and_the_others_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observers: Observers[Observation] = Observers()
    told: list[Observation] = []

    def broken(seen: Observation) -> None:
        raise ValueError("a bug")

    observers.add(broken)
    observers.add(told.append)
    observers(FIRST)
    observers(SECOND)
    assert told == [FIRST, SECOND]
    [text] = observers.dropped
    assert "broken" in text
    assert "ValueError('a bug')" in text
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None


def test_what_ends_the_program_is_not_swallowed() -> None:
    observers: Observers[Observation] = Observers()

    def interrupted(seen: Observation) -> None:
        raise KeyboardInterrupt

    observers.add(interrupted)
    with pytest.raises(KeyboardInterrupt):
        observers(FIRST)
    assert not observers.dropped
