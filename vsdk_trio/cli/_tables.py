"""The tables of the command line: which columns, and what stands in them.

Knows the JSON of registries and workers; not where it comes from. What is not as it should be is
shown as nothing: it came over the network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from .._masking import mask
from ..jobs.short_ids import shorten
from ._output import harmless, seconds

Row = tuple[str, ...]
GAP: Final = 2
_NO_LIMIT: Final = 1 << 20


@attrs.frozen
class Column:
    """A column: how much of it must be seen, and which goes first where there is no room.

    `least` is a width in characters, None where nothing may be cut off. The column with the highest
    `rank` is left out first; one of rank 0 stays.
    """

    name: str
    least: int | None = None
    rank: int = 0


@attrs.frozen
class TableOf:
    """Columns, and rows as wide; `ids` are the numbers of the columns whose ids may be shortened.

    `marked` are the numbers of the rows that need a person.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    ids: Collection[int] = ()
    marked: Collection[int] = ()

    def shortened(self) -> TableOf:
        """The table with ids as short as they may be to tell them apart."""
        short = {n: shorten(row[n] for row in self.rows) for n in self.ids}
        rows = [
            tuple(short[n][cell] if n in short else cell for n, cell in enumerate(row))
            for row in self.rows
        ]
        return attrs.evolve(self, rows=rows)


_JOB_COLUMNS: Final = (
    Column("JOB"),
    Column("STATUS"),
    Column("AGENT", least=6, rank=3),
    Column("ROOM", least=6, rank=2),
    Column("WORKER", rank=5),
    Column("AGE", rank=1),
)
_END_COLUMNS: Final = (Column("LASTED", rank=4), Column("ERROR", least=12, rank=1))


def table_of_jobs(jobs: Iterable[dict[str, Any]]) -> TableOf:
    """The jobs of a registry."""
    rows = [_job(job) for job in jobs]
    return TableOf((*_JOB_COLUMNS, *_END_COLUMNS), rows, ids=(0, 4))


def table_of_open_jobs(jobs: Iterable[dict[str, Any]]) -> TableOf:
    """The jobs that have not ended: without the columns that say how one did."""
    return TableOf(_JOB_COLUMNS, [_job(job)[:-2] for job in jobs], ids=(0, 4))


def table_of_workers(workers: Iterable[dict[str, Any]]) -> TableOf:
    """The workers of a registry."""
    columns = (
        Column("WORKER"),
        Column("AGENT", least=6, rank=1),
        Column("STATUS"),
        Column("LOAD", rank=2),
        Column("JOBS"),
        Column("SLOTS"),
    )
    known = list(workers)
    marked = [n for n, worker in enumerate(known) if is_full(worker)]
    return TableOf(columns, [_worker(worker) for worker in known], ids=(0,), marked=marked)


def table_of_processes(resources: Iterable[dict[str, Any]], now: float) -> TableOf:
    """The job processes of a worker."""
    columns = (
        Column("PID"),
        Column("STATE"),
        Column("JOB"),
        Column("MEMORY", rank=2),
        Column("CPU", rank=3),
        Column("HEARD", rank=1),
    )
    known = list(resources)
    marked = [n for n, resource in enumerate(known) if blocked_for(resource) is not None]
    rows = [_process(resource, now) for resource in known]
    return TableOf(columns, rows, ids=(2,), marked=marked)


def has_ended(job: dict[str, Any]) -> bool:
    """Whether nothing more is expected of a job."""
    return job.get("ended_after") is not None


def _job(job: dict[str, Any]) -> Row:
    status = str(job.get("status"))
    if job.get("presumed"):
        status += " (presumed)"
    elif job.get("terminating") and not has_ended(job):
        status += " (terminating)"
    job_id, *texts = (
        str(job.get(name) or "") for name in ("job_id", "agent_id", "room_id", "worker_id")
    )
    times = seconds(job.get("age")), seconds(job.get("ended_after"))
    return (job_id, status, *texts, *times, str(job.get("error") or ""))


def is_full(worker: dict[str, Any]) -> bool:
    """Whether a worker has no slot left: as it says, or as its jobs and slots say."""
    count, slots = _jobs_of(worker), worker.get("max_processes")
    is_taken = isinstance(count, int) and isinstance(slots, int) and count >= slots
    return worker.get("status") not in ("away", "draining") and (
        is_taken or worker.get("status") == "full"
    )


def blocked_for(resource: dict[str, Any]) -> float | None:
    """How many seconds the event loop of a job process has been blocked, where it is."""
    metadata = resource.get("metadata")
    found = metadata.get("blocked_seconds") if isinstance(metadata, dict) else None
    return found if isinstance(found, (int, float)) else None


def _jobs_of(worker: dict[str, Any]) -> object:
    jobs = worker.get("jobs")
    return len(jobs) if isinstance(jobs, list) else worker.get("job_count")


def _worker(worker: dict[str, Any]) -> Row:
    texts = [str(worker.get(name) or "") for name in ("worker_id", "agent_id", "status")]
    if is_full(worker):
        texts[-1] = "full"
    count, slots = _jobs_of(worker), worker.get("max_processes")
    return (*texts, number(worker.get("load")), str(count), "?" if slots is None else str(slots))


def _process(resource: dict[str, Any], now: float) -> Row:
    metadata = resource.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    memory, cpu = resource.get("memory_usage_mb"), resource.get("cpu_usage_percent")
    heard = resource.get("last_heartbeat")
    return (
        str(known.get("pid") or ""),
        _state(resource),
        str(known.get("job_id") or ""),
        f"{memory:.0f} MB" if isinstance(memory, (int, float)) else "",
        f"{cpu:.0f} %" if isinstance(cpu, (int, float)) else "",
        f"{max(0.0, now - heard):.0f} s ago" if isinstance(heard, (int, float)) else "",
    )


def _state(resource: dict[str, Any]) -> str:
    blocked = blocked_for(resource)
    return str(resource.get("status") or "") if blocked is None else f"BLOCKED {blocked:.0f} s"


def number(value: object) -> str:
    """A share, such as a load."""
    return f"{value:.2f}" if isinstance(value, (int, float)) else ""


def widths(table: TableOf, room: int) -> list[int]:
    """How wide each column is drawn, in `room` characters with `GAP` between two; 0: left out.

    Columns are left out by rank until the others fit at their least; then the widest of those that
    may be cut off gives way first. What must not be cut off may still be too wide in the end.
    """
    from rich.cells import cell_len

    cells = [column.name for column in table.columns], *table.rows
    wide = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    least = [
        size if column.least is None else min(size, column.least)
        for column, size in zip(table.columns, wide, strict=True)
    ]
    shown = set(range(len(wide)))

    def too_much(sizes: list[int]) -> int:
        return sum(sizes[n] for n in shown) + GAP * (len(shown) - 1) - room

    while too_much(least) > 0 and (may_go := [n for n in shown if table.columns[n].rank]):
        shown.remove(max(may_go, key=lambda n: table.columns[n].rank))
    while too_much(wide) > 0 and (may_give := [n for n in shown if wide[n] > least[n]]):
        wide[max(may_give, key=lambda n: wide[n])] -= 1
    return [size if n in shown else 0 for n, size in enumerate(wide)]


def shares(needs: Sequence[int], room: int) -> list[int]:
    """How many lines each is given of `room`: what it needs, or an equal share of what is left."""
    given = [0] * len(needs)
    for left, n in enumerate(sorted(range(len(needs)), key=needs.__getitem__)):
        given[n] = min(needs[n], max(0, room - sum(given)) // (len(needs) - left))
    return given


@attrs.frozen
class _Fitted:
    """Lines and tables that fit their terminal, a line for each row; elsewhere nothing is cut off.

    Where there are more rows than a screen has lines, the first of a table give way: the newest
    jobs are the last. A line says how many.
    """

    parts: Sequence[str | TableOf]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.cells import cell_len
        from rich.text import Text

        needs = [len(part.rows) for part in self.parts if isinstance(part, TableOf)]
        if console.is_alt_screen:
            # One line is for the message that the server does not answer.
            needs = shares(needs, console.height - 1 - len(self.parts))
        end = "..." if options.ascii_only else "…"
        for part in self.parts:
            if isinstance(part, str):
                room = options.max_width if console.is_terminal else _NO_LIMIT
                text = _fit(part, room, end).rstrip() if cell_len(part) > room else part
                yield Text(text, style="bold", no_wrap=True, overflow="crop")
            else:
                yield from self._lines(part, needs.pop(0), console, options)

    def _lines(self, table: TableOf, count: int, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        table = table.shortened() if console.is_terminal else table
        rows = [tuple(harmless(cell) for cell in row) for row in table.rows]
        table = attrs.evolve(table, rows=rows)
        room = options.max_width if console.is_terminal else _NO_LIMIT
        sizes = widths(table, room)
        end = "..." if options.ascii_only else "…"
        names = [column.name for column in table.columns]
        yield Text(_line(names, sizes, end), style="bold", no_wrap=True, overflow="crop")
        hidden = 0 if count >= len(rows) else len(rows) - max(0, count - 1)
        if hidden:
            yield Text(f"{end} {hidden} more", style="dim", no_wrap=True, overflow="crop")
        for n, row in enumerate(rows[hidden:], hidden):
            style = "yellow" if n in table.marked else ""
            yield Text(_line(row, sizes, end), style=style, no_wrap=True, overflow="crop")


def _line(row: Sequence[str], sizes: Sequence[int], end: str) -> str:
    shown = [_fit(cell, size, end) for cell, size in zip(row, sizes, strict=True) if size]
    return (" " * GAP).join(shown).rstrip()


def _fit(text: str, size: int, end: str) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= size:
        return set_cell_size(text, size)
    return set_cell_size(text, max(0, size - len(end))) + end[:size]


def rendered(*parts: str | TableOf) -> Any:
    """Lines and tables as rich shows them; nothing in them can do more than be shown."""
    return _Fitted([harmless(part) if isinstance(part, str) else part for part in parts])


def rendered_job(answer: dict[str, Any]) -> Any:
    """All that a registry knows of one job; texts of many lines keep them."""
    from rich.text import Text

    known = [fact for fact in (*_facts(answer["job"]), *_said(answer.get("updates"))) if fact[1]]
    size = GAP + max(len(name) for name, _ in known)
    shown = Text(overflow="fold")
    for name, value in known:
        for n, line in enumerate(mask(value).splitlines()):
            shown.append(f"{'' if n else name:<{size}}", style="bold")
            shown.append(f"{harmless(line)}\n")
    shown.rstrip()
    return shown


def _facts(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    whole = _job(job)
    names = ("job", "status", "agent", "room", "worker")
    yield from zip(names, whole[: len(names)], strict=True)
    yield "offers", str(job.get("offers") or "")
    yield "dispatched", f"{seconds(job.get('age'))} ago"
    for name in ("assigned", "running", "ended"):
        after = job.get(f"{name}_after")
        yield name, f"after {seconds(after)}" if isinstance(after, (int, float)) else ""
    yield "participant", str(job.get("participant_name") or job.get("participant_identity") or "")
    yield "terminating", str(job.get("terminating") or "")
    yield "error", str(job.get("error") or "")


def _said(updates: object) -> Iterator[tuple[str, str]]:
    """What the worker said, one line each."""
    lines = [
        f"{seconds(update.get('age'))} ago: {update.get('status')}"
        + ("" if update.get("applied") else " (without effect)")
        for update in (updates if isinstance(updates, list) else [])
        if isinstance(update, dict)
    ]
    yield "updates", "\n".join(lines)
