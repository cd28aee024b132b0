"""The tables of the command line: which columns, and what stands in them.

Knows the JSON of registries and workers; not where it comes from. What is not as it should be is
shown as nothing: it came over the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from ._output import harmless, seconds

Row = tuple[str, ...]
_SHORT_ID: Final = 8


@attrs.frozen
class TableOf:
    """Columns, and rows as wide."""

    columns: Sequence[str]
    rows: Sequence[Row]


def table_of_jobs(jobs: Iterable[dict[str, Any]]) -> TableOf:
    """The jobs of a registry."""
    columns = ("JOB", "AGENT", "ROOM", "STATUS", "WORKER", "AGE", "LASTED", "ERROR")
    return TableOf(columns, [_job(job) for job in jobs])


def table_of_open_jobs(jobs: Iterable[dict[str, Any]]) -> TableOf:
    """The jobs that have not ended: without the columns that say how one did."""
    table = table_of_jobs(jobs)
    return TableOf(table.columns[:-2], [row[:-2] for row in table.rows])


def table_of_workers(workers: Iterable[dict[str, Any]]) -> TableOf:
    """The workers of a registry."""
    columns = ("WORKER", "AGENT", "STATUS", "LOAD", "JOBS", "SLOTS")
    return TableOf(columns, [_worker(worker) for worker in workers])


def table_of_processes(resources: Iterable[dict[str, Any]], now: float) -> TableOf:
    """The job processes of a worker."""
    columns = ("PID", "STATE", "JOB", "MEMORY", "CPU", "HEARD")
    return TableOf(columns, [_process(resource, now) for resource in resources])


def has_ended(job: dict[str, Any]) -> bool:
    """Whether nothing more is expected of a job."""
    return job.get("ended_after") is not None


def _job(job: dict[str, Any]) -> Row:
    status = str(job.get("status"))
    if job.get("presumed"):
        status += " (presumed)"
    elif job.get("terminating") and not has_ended(job):
        status += " (terminating)"
    texts = [str(job.get(name) or "") for name in ("job_id", "agent_id", "room_id")]
    worker = str(job.get("worker_id") or "")[:_SHORT_ID]
    times = seconds(job.get("age")), seconds(job.get("ended_after"))
    return (*texts, status, worker, *times, str(job.get("error") or ""))


def _worker(worker: dict[str, Any]) -> Row:
    texts = [str(worker.get(name) or "") for name in ("worker_id", "agent_id", "status")]
    jobs = worker.get("jobs")
    count = len(jobs) if isinstance(jobs, list) else worker.get("job_count")
    slots = worker.get("max_processes")
    return (*texts, number(worker.get("load")), str(count), "?" if slots is None else str(slots))


def _process(resource: dict[str, Any], now: float) -> Row:
    metadata = resource.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    memory, cpu = resource.get("memory_usage_mb"), resource.get("cpu_usage_percent")
    heard = resource.get("last_heartbeat")
    return (
        str(known.get("pid") or ""),
        str(resource.get("status") or ""),
        str(known.get("job_id") or ""),
        f"{memory:.0f} MB" if isinstance(memory, (int, float)) else "",
        f"{cpu:.0f} %" if isinstance(cpu, (int, float)) else "",
        f"{max(0.0, now - heard):.0f} s ago" if isinstance(heard, (int, float)) else "",
    )


def number(value: object) -> str:
    """A share, such as a load."""
    return f"{value:.2f}" if isinstance(value, (int, float)) else ""


def rendered(table: TableOf, title: str = "") -> Any:
    """The table as rich shows it; nothing in it can do more to a terminal than be shown."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left"
    )
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(harmless(cell)) for cell in row))
    return shown
