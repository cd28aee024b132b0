"""Counting: labels from closed sets, buckets, what is there before anything was counted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.telemetry.metrics.tallies import (
    FAST_BUCKETS,
    Counter,
    Distribution,
    Family,
    Histogram,
    Label,
)


def family(**fields: object) -> Family:
    usual = {"name": "x_total", "kind": "counter", "help": "X.", "when": "Never."}
    return Family(**{**usual, **fields})  # type: ignore[arg-type]  # a test's shorthand


REASONS = family(labels=(Label("reason", ("at capacity", "closed")),))
SECONDS = family(name="x_seconds", kind="histogram", buckets=(0.1, 1.0))


def test_every_series_is_there_from_the_start() -> None:
    assert Counter(REASONS).read().values == {("at_capacity",): 0, ("closed",): 0}
    assert Counter(family()).read().values == {(): 0}
    some = family(labels=REASONS.labels, series=(("closed",),))
    assert Counter(some).read().values == {("closed",): 0}


def test_words_become_label_values_and_unknown_ones_are_other() -> None:
    counter = Counter(REASONS)
    for word in ("at capacity", "at capacity", "closed", "what a registry made up", None):
        counter.add(word)
    assert counter.read().values == {("at_capacity",): 2, ("closed",): 1, ("other",): 2}


@given(st.lists(st.text()))
def test_the_number_of_series_is_bounded(words: list[str]) -> None:
    counter = Counter(REASONS)
    for word in words:
        counter.add(word)
    assert len(counter.read().values) <= 3


def test_the_number_of_labels_must_fit() -> None:
    with pytest.raises(ValueError, match="zip"):
        Counter(REASONS).add("closed", "closed")


def test_a_value_on_a_bound_is_below_it() -> None:
    histogram = Histogram(SECONDS)
    for seconds in (0.05, 0.1, 0.2, 1.0, 5.0):
        histogram.add(seconds)
    [value] = histogram.read().values.values()
    assert isinstance(value, Distribution)
    assert value.counts == (2, 2, 1)
    assert value.total == pytest.approx(6.35)


@given(st.lists(st.floats()))
def test_every_finite_measurement_is_in_one_bucket(seconds: list[float]) -> None:
    histogram = Histogram(SECONDS)
    for value in seconds:
        histogram.add(value)
    [read] = histogram.read().values.values()
    assert isinstance(read, Distribution)
    assert sum(read.counts) == sum(map(math.isfinite, seconds))
    assert read.total >= 0


def test_what_was_read_does_not_change_any_more() -> None:
    counter, histogram = Counter(family()), Histogram(SECONDS)
    before = counter.read(), histogram.read()
    counter.add()
    histogram.add(0.5)
    assert [reading.values for reading in before] == [{(): 0}, {(): Distribution((0, 0, 0), 0.0)}]


def test_buckets_begin_at_half_a_millisecond_and_are_in_order() -> None:
    assert FAST_BUCKETS[0] == 0.0005
    assert list(FAST_BUCKETS) == sorted(FAST_BUCKETS)
