"""What comes out of the measurements: samples, each of one figure and one contender."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

Unit: TypeAlias = Literal["ms", "MiB", "/s", "s", "%", "µs"]
NANOSECONDS_PER_MS = 1e6


@attrs.frozen
class Aim:
    """What p50, and where given p99, should not be above; for a rate, not below."""

    p50: float
    p99: float | None = None


@attrs.frozen
class Samples:
    """Measured values of one kind."""

    unit: Unit
    values: tuple[float, ...] = attrs.field(converter=tuple)

    @property
    def p50(self) -> float:
        return statistics.median(self.values)

    @property
    def p99(self) -> float:
        if len(self.values) == 1:
            return self.values[0]
        return statistics.quantiles(self.values, n=100, method="inclusive")[98]

    def meets(self, aim: Aim) -> bool:
        if self.unit == "/s":
            return self.p50 >= aim.p50
        return self.p50 <= aim.p50 and (aim.p99 is None or self.p99 <= aim.p99)


@attrs.define
class Book:
    """Everything that one run has found: figure -> contender -> samples, in order of entry."""

    figures: dict[str, dict[str, Samples]] = attrs.field(factory=dict)
    aims: dict[tuple[str, str], Aim] = attrs.field(factory=dict)
    curves: dict[str, dict[str, list[tuple[float, float]]]] = attrs.field(factory=dict)
    """Plot -> line -> points."""
    notes: list[str] = attrs.field(factory=list)

    def add(
        self,
        figure: str,
        contender: str,
        unit: Unit,
        values: Iterable[float],
        aim: Aim | None = None,
    ) -> None:
        """Enter what was measured, beside what is there already."""
        line = self.figures.setdefault(figure, {})
        before = line[contender].values if contender in line else ()
        line[contender] = Samples(unit, (*before, *values))
        if aim is not None:
            self.aims[figure, contender] = aim

    def add_times(
        self, figure: str, contender: str, nanoseconds: Iterable[float], aim: Aim | None = None
    ) -> None:
        """Enter differences of `time.monotonic_ns()`."""
        values = [value / NANOSECONDS_PER_MS for value in nanoseconds]
        if values:
            self.add(figure, contender, "ms", values, aim)

    def add_point(self, plot: str, line: str, x: float, y: float) -> None:
        """Enter one point of a curve."""
        self.curves.setdefault(plot, {}).setdefault(line, []).append((x, y))
