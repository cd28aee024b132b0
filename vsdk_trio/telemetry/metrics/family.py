"""What a metric is, before it has a value: name, type, help, labels, and what to do about it.

Pure values. Labels come from closed sets, so that the number of series is known beforehand; what is
not in its set is counted as `other`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]
Key: TypeAlias = tuple[str, ...]

OTHER: Final = "other"

# From half a millisecond, which a warm dispatch takes, to a minute, which somebody waits for.
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
    """What whoever operates the worker does when it moves."""
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
