"""Metrics as values: families with their help, counters and histograms, and readings of them.

Plain Python. Knows no observations, no exposition format and no HTTP.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]
Key: TypeAlias = tuple[str, ...]

OTHER: Final = "other"

# From half a millisecond (a warm dispatch) to a minute (the longest that a caller waits).
FAST_BUCKETS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# Lengths of calls.
SLOW_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)


def label_value(word: str) -> str:
    """A word as a label value: `at capacity` is `at_capacity`."""
    return str(word).replace(" ", "_")


def _label_values(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(label_value(word) for word in words)


@attrs.frozen
class Label:
    """The name of a label, and every value that it can have."""

    name: str
    values: tuple[str, ...] = attrs.field(converter=_label_values)


@attrs.frozen(kw_only=True)
class Family:
    """One metric. `name` is what a query names; that of a counter ends in `_total`."""

    name: str
    kind: Kind
    help: str
    when: str
    """What an operator does when the value moves."""
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    series: tuple[Key, ...] = ()
    """The series that are there from the start; by default every one that there can be."""

    @property
    def first_series(self) -> tuple[Key, ...]:
        """The series that are there before anything was counted: `rate` needs a beginning."""
        return self.series or tuple(itertools.product(*(label.values for label in self.labels)))

    def key(self, words: Iterable[str | None]) -> Key:
        """The label values for what an observation says."""
        values = tuple(label_value(word or "none") for word in words)
        known = zip(values, self.labels, strict=True)
        return tuple(value if value in label.values else OTHER for value, label in known)


@attrs.frozen
class Distribution:
    """The value of one series of a histogram: how many fell into each bucket, and their sum."""

    counts: tuple[int, ...]
    """One count for each bucket and one for larger values; not cumulative."""
    total: float


@attrs.frozen
class Reading:
    """A family with the values of all its series at one moment."""

    family: Family
    values: Mapping[Key, float | Distribution]


class _Keys(dict[tuple[str | None, ...], Key]):
    """The label values for the words of an observation; remembered, because a job waits for it.

    Words of a closed set are few; any other is `other`, and is not remembered.
    """

    def __init__(self, family: Family) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, words: tuple[str | None, ...]) -> Key:
        key = self._family.key(words)
        if OTHER not in key:
            self[words] = key
        return key


class Counter:
    """Counts the events of one family, by their labels."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._keys = _Keys(family)
        self._values: dict[Key, float] = dict.fromkeys(family.first_series, 0.0)

    def add(self, *words: str | None, amount: float = 1.0) -> None:
        """Count; `words` are the values of the family's labels."""
        key = self._keys[words]
        self._values[key] = self._values.get(key, 0.0) + amount

    def read(self) -> Reading:
        """What has been counted."""
        return Reading(self._family, dict(self._values))


class Histogram:
    """Sorts the measurements of one family into its buckets, by their labels."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._keys = _Keys(family)
        self._counts = {key: self._no_counts() for key in family.first_series}
        self._totals = dict.fromkeys(family.first_series, 0.0)

    def _no_counts(self) -> list[int]:
        return [0] * (len(self._family.buckets) + 1)

    def add(self, value: float, *words: str | None) -> None:
        """Count a measurement; one that is no finite number is none."""
        if not math.isfinite(value):
            return
        key = self._keys[words]
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = self._no_counts()
        # A bucket holds what is not above its bound; a clock that is set back makes no debts.
        counts[bisect_left(self._family.buckets, value)] += 1
        self._totals[key] = self._totals.get(key, 0.0) + max(value, 0.0)

    def read(self) -> Reading:
        """What has been measured."""
        values = {
            key: Distribution(tuple(counts), self._totals[key])
            for key, counts in self._counts.items()
        }
        return Reading(self._family, values)
