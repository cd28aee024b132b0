"""What comes out of the measurements: samples, and figures that stand beside their floors."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

Unit: TypeAlias = Literal["ms", "MB", "/s"]
NANOSECONDS_PER_MS = 1e6


def _as_tuple(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class Samples:
    """Measured values of one kind."""

    name: str
    unit: Unit
    values: tuple[float, ...] = attrs.field(converter=_as_tuple)

    @property
    def p50(self) -> float:
        return statistics.median(self.values)

    @property
    def p99(self) -> float:
        if len(self.values) == 1:
            return self.values[0]
        return statistics.quantiles(self.values, n=100, method="inclusive")[98]


@attrs.frozen(kw_only=True)
class Figure:
    """A measurement beside its floor: what the same work costs with nothing of ours in it."""

    measured: Samples
    floor: Samples
    aim: float | None = None
    """The aim for p50, or None; more is better for a rate, less for everything else."""

    @property
    def ratio(self) -> float:
        """How many times the floor: 1 would be no overhead at all."""
        measured, floor = self.measured.p50, self.floor.p50
        return floor / measured if self.measured.unit == "/s" else measured / floor

    @property
    def is_met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.measured.p50 < self.aim


def milliseconds(name: str, nanoseconds: Iterable[float]) -> Samples:
    """Samples in milliseconds from differences of `time.monotonic_ns()`."""
    return Samples(name, "ms", (value / NANOSECONDS_PER_MS for value in nanoseconds))
