"""Puts a book into tables for people, or JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from .figures import Aim, Book, Samples


def markdown(book: Book, contenders: list[str]) -> str:
    """One table: figures down, contenders across; p50, and p99 where there is one."""
    columns = ["floor", *contenders]
    lines = ["| | " + " | ".join(columns) + " | aim |", "|---" * (len(columns) + 2) + "|"]
    for figure, found in book.figures.items():
        cells = [_cell(book, figure, column, found.get(column)) for column in columns]
        aims = [
            f"{contender}: {_aim(found[contender], book.aims[figure, contender])}"
            for contender in contenders
            if (figure, contender) in book.aims and contender in found
        ]
        lines.append(f"| {figure} | " + " | ".join(cells) + f" | {'; '.join(aims)} |")
    return "\n".join(lines)


def curves_markdown(book: Book) -> str:
    """The points of the curves, as tables."""
    blocks = []
    for plot, lines in book.curves.items():
        xs = sorted({x for points in lines.values() for x, _ in points})
        head = f"| {plot} | " + " | ".join(f"{x:g}" for x in xs) + " |"
        rows = [
            f"| {line} | "
            + " | ".join(_number(dict(points)[x]) if x in dict(points) else "" for x in xs)
            + " |"
            for line, points in lines.items()
        ]
        blocks.append("\n".join([head, "|---" * (len(xs) + 1) + "|", *rows]))
    return "\n\n".join(blocks)


def as_json(book: Book, machine: str) -> str:
    """One object; every value with its unit."""
    figures: dict[str, Any] = {
        figure: {
            contender: {
                "unit": samples.unit,
                "n": len(samples.values),
                "p50": samples.p50,
                "p99": samples.p99,
            }
            for contender, samples in found.items()
        }
        for figure, found in book.figures.items()
    }
    return json.dumps({"machine": machine, "figures": figures, "curves": book.curves}, indent=2)


def machine_line() -> str:
    """Where this was measured, how busy it was, and what."""
    load = os.getloadavg()[0]
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.release()}, {_processor()}, {len(os.sched_getaffinity(0))} processors to use, "
        f"load average {load:.1f} at the end; commit {_commit()}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _cell(book: Book, figure: str, contender: str, samples: Samples | None) -> str:
    if samples is None:
        return ""
    text = f"{_number(samples.p50)} {samples.unit}"
    if len(samples.values) >= 10:
        text += f" (p99 {_number(samples.p99)})"
    aim = book.aims.get((figure, contender))
    return text if aim is None or samples.meets(aim) else f"**{text}**"


def _aim(samples: Samples, aim: Aim) -> str:
    sign = "≥" if samples.unit == "/s" else "≤"
    text = f"{sign} {aim.p50:g}" + (f", p99 {aim.p99:g}" if aim.p99 is not None else "")
    return f"{text} {samples.unit} {'met' if samples.meets(aim) else '**missed**'}"


def _number(value: float) -> str:
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
