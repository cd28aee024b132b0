"""Tables fit their terminal: what gives way, what is left out, what is never cut off."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from vsdk_trio.cli._tables import (
    GAP,
    Column,
    TableOf,
    rendered,
    shares,
    table_of_jobs,
    table_of_processes,
    table_of_workers,
    widths,
)

JOBS: list[dict[str, Any]] = [
    {
        "job_id": f"e32b645{n}-1d0c-4a1e-9f33-0123456789ab",
        "agent_id": "support-line",
        "room_id": "a-room-with-a-long-name-for-one-call",
        "status": "failed",
        "worker_id": "0d9dc353-1d0c-4a1e-9f33-0123456789ab",
        "age": 12.0,
        "ended_after": 4.0,
        "error": "ValueError: the model said no\n" + "  and then some more\n" * 20,
    }
    for n in range(3)
]


def lines(table: TableOf, width: int, *, terminal: bool = True) -> list[str]:
    out = StringIO()
    shown = width if terminal else 1 << 20
    Console(file=out, width=shown, force_terminal=terminal, no_color=True).print(rendered(table))
    return [
        line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in out.getvalue().splitlines()
    ]


@pytest.mark.parametrize("width", [40, 80, 100, 250])
def test_a_job_is_one_line_on_any_terminal(width: int) -> None:
    head, *rows = lines(table_of_jobs(JOBS), width)
    assert len(rows) == len(JOBS)
    assert all(cell_len(row) <= width for row in (head, *rows))
    assert all(row.startswith(f"e32b645{n}  failed") for n, row in enumerate(rows))
    assert "ERROR" in head or width < 80
    assert all(row.endswith("…") for row in rows if "Value" in row)


def test_piped_nothing_is_cut_off() -> None:
    _, *rows = lines(table_of_jobs(JOBS), 80, terminal=False)
    assert len(rows) == len(JOBS)
    for job, row in zip(JOBS, rows, strict=True):
        assert job["job_id"] in row
        assert row.count("and then some more") == 20


def test_the_others_fit_too() -> None:
    worker = {
        "worker_id": "0d9dc353-1d0c-4a1e-9f33-0123456789ab",
        "agent_id": "an-agent-with-a-name-that-is-much-too-long-for-this",
        "status": "busy",
        "load": 1.0,
        "jobs": ["a", "b"],
        "max_processes": 2,
    }
    process = {
        "status": "busy",
        "metadata": {"pid": 12, "job_id": JOBS[0]["job_id"], "blocked_seconds": 84.2},
        "memory_usage_mb": 28.0,
        "cpu_usage_percent": 99.0,
        "last_heartbeat": 0.0,
    }
    for width in (40, 80):
        [head, row] = lines(table_of_workers([worker]), width)
        assert "full" in row
        [head, row] = lines(table_of_processes([process], 84.0), width)
        assert "BLOCKED 84 s" in row
        assert cell_len(head) <= width
        assert cell_len(row) <= width


def test_what_needs_a_person_has_a_colour() -> None:
    table = TableOf([Column("A")], [("well",), ("not",)], marked=[1])
    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(rendered(table))
    _, well, bad = out.getvalue().splitlines()
    assert "\x1b" not in well
    assert bad.startswith("\x1b[33m")


def on_screen(*parts: str | TableOf, width: int, height: int) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, no_color=True)
    console.set_alt_screen(True)
    shown = console.render_lines(rendered(*parts))
    return ["".join(segment.text for segment in line).rstrip() for line in shown]


def test_on_a_low_screen_the_newest_jobs_are_seen_and_how_many_are_not() -> None:
    jobs = [{**JOBS[0], "job_id": f"{n:08d}-x", "error": ""} for n in range(40)]
    shown = on_screen(table_of_jobs(jobs), width=80, height=12)
    assert shown[0].startswith("JOB")
    assert shown[1] == "… 31 more"
    assert [row.split()[0] for row in shown[2:11]] == [f"{n:08d}" for n in range(31, 40)]
    assert len(shown) == 11  # one is for what is said where the registry is away


def test_two_tables_share_a_screen() -> None:
    workers = [{"worker_id": f"worker-{n:03d}", "agent_id": "a", "status": ""} for n in range(30)]
    parts = ("head", "", table_of_workers(workers), "", table_of_jobs(JOBS))
    shown = on_screen(*parts, width=80, height=24)
    assert len(shown) == 23
    assert sum("failed" in row for row in shown) == len(JOBS)
    assert sum(row.startswith("worker-") for row in shown) == 14
    assert "… 16 more" in shown


@given(st.lists(st.integers(0, 50), max_size=4), st.integers(-5, 60))
def test_shares_are_fair(needs: list[int], room: int) -> None:
    given_lines = shares(needs, room)
    assert sum(given_lines) <= max(0, room)
    assert all(got <= need for got, need in zip(given_lines, needs, strict=True))
    if sum(needs) <= room:
        assert given_lines == needs
    short = [got for got, need in zip(given_lines, needs, strict=True) if got < need]
    assert not short or min(short) >= max(0, room) // len(needs)


CELL = st.text("ab \u4e16\U0001f600", max_size=30)


@given(st.data(), st.integers(1, 200))
def test_it_fits_where_it_can(data: st.DataObject, room: int) -> None:
    count = data.draw(st.integers(1, 5))
    columns = [
        Column("X" * data.draw(st.integers(1, 4)), data.draw(st.none() | st.integers(1, 6)), n)
        for n in range(count)
    ]
    rows = data.draw(st.lists(st.tuples(*[CELL] * count), max_size=4))
    table = TableOf(columns, rows)
    sizes = widths(table, room)
    assert sizes[0] > 0  # of rank 0
    used = sum(sizes) + GAP * (sum(size > 0 for size in sizes) - 1)
    whole = max(cell_len(cell) for cell in ("X", *(row[0] for row in rows)))
    assert used <= room or sum(size > 0 for size in sizes) == 1
    assert used <= max(room, whole, len(columns[0].name))
    for n, column in enumerate(columns):
        natural = max(cell_len(cell) for cell in (column.name, *(row[n] for row in rows)))
        assert sizes[n] in (0, natural) or column.least is not None
