"""Tallies: what has been counted so far, and what is handed over to be written down.

Plain Python; knows families and numbers, not who counts or who reads.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping

import attrs

from .family import OTHER, Family, Key


@attrs.frozen
class Distribution:
    """The value of one series of a histogram: how many fell into each bucket, and their sum."""

    counts: tuple[int, ...]
    """For each bucket of the family, and for what is above the last one; not cumulative."""
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
