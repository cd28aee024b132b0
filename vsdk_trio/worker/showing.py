"""What the status server may ask of a worker, put together: its looks, its memories, its drain.

Assembly only. The memories are filled from here on, and for as long as the context lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from ..options.worker import Options
from ..status.gauges import read_worker
from ..status.history import History
from ..status.sources import StatusSources
from ..status.view import LineView
from ..telemetry.logs.lines import LogLine
from ..telemetry.logs.recent import RecentLines, recent_lines
from ..telemetry.metrics.worker_tallies import WorkerTallies
from .look import Look
from .parts import Parts


@contextmanager
def open_sources(
    parts: Parts, options: Options, look: Look, tallies: WorkerTallies
) -> Iterator[StatusSources]:
    """The sources of a worker's status server, for the length of the block."""
    history = History(look.unix_now)
    with (
        parts.observers.listening(history),
        recent_lines() as recent,
    ):
        yield StatusSources(
            look=look,
            history=history,
            observers=parts.observers,
            drain=parts.shutdown.drain,
            measure=lambda: (*read_worker(look()), *tallies.read()),
            lines_since=lambda number: _lines(recent, number),
            lines_of=lambda job_id: _views(recent.of_job(job_id)),
            debug_token=options.debug_token,
        )


def _lines(recent: RecentLines, number: int) -> tuple[int, Sequence[LineView]]:
    newest, lines = recent.after(number)
    return newest, _views(lines)


def _views(lines: Iterable[LogLine]) -> list[LineView]:
    return [
        LineView(
            at=line.created,
            level=line.level_name,
            logger=line.logger,
            message=f"{line.message}\n{line.exception}" if line.exception else line.message,
            job_id=line.fields.get("job_id"),
        )
        for line in lines
    ]
