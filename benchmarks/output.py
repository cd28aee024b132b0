"""Puts the results into a table for people, or JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from .figures import Figure, Samples

_HEADINGS = ("", "n", "p50", "p99", "floor", "p50", "p99", "ratio", "aim", "")
_TEXT_COLUMNS = (0, 4)


@attrs.frozen
class Results:
    """Everything that one run has found."""

    figures: Sequence[Figure]
    others: Sequence[Samples]


def as_table(results: Results) -> str:
    """Columns of plain text."""
    rows = [_HEADINGS, *map(_row, results.figures)]
    others = [("also", "n", "p50", "p99"), *map(_cells, results.others)]
    return f"{machine_line()}\n\n{_align(rows)}\n\n{_align(others)}"


def as_json(results: Results) -> str:
    """One object; figures carry their unit, milliseconds, MB or a rate per second."""
    document = {
        "machine": machine_line(),
        "figures": [
            {
                **_fields(figure.measured),
                "floor": _fields(figure.floor),
                "ratio": round(figure.ratio, 3),
                "aim": figure.aim,
                "is_met": figure.is_met,
            }
            for figure in results.figures
        ],
        "others": [_fields(samples) for samples in results.others],
    }
    return json.dumps(document, indent=2)


def machine_line() -> str:
    """Where this was measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {cores} cores to use"
    )


def _row(figure: Figure) -> tuple[str, ...]:
    floor = _cells(figure.floor)
    aim = "" if figure.aim is None else f"< {figure.aim:g} {figure.measured.unit}"
    verdict = {None: "", True: "met", False: "missed"}[figure.is_met]
    floor_cells = (floor[0], *floor[2:])
    return (*_cells(figure.measured), *floor_cells, f"{figure.ratio:.2f}", aim, verdict)


def _cells(samples: Samples) -> tuple[str, str, str, str]:
    p50, p99 = (f"{value:.{_digits(value)}f} {samples.unit}" for value in _middle_and_tail(samples))
    return samples.name, str(len(samples.values)), p50, p99 if len(samples.values) > 1 else ""


def _middle_and_tail(samples: Samples) -> tuple[float, float]:
    return samples.p50, samples.p99


def _digits(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0


def _fields(samples: Samples) -> dict[str, Any]:
    return {
        "name": samples.name,
        "unit": samples.unit,
        "n": len(samples.values),
        "p50": round(samples.p50, 4),
        "p99": round(samples.p99, 4),
    }


def _align(rows: Iterable[Sequence[str]]) -> str:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in _TEXT_COLUMNS else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )
