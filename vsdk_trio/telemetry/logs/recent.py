"""The last lines of the log, for a dashboard or an error report.

Bounded in number and size. Must not know who asks.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from ..._masking import cut
from .lines import LogLine, read_line
from .loggers import listening

MAX_LINES: Final = 200
MAX_JOBS: Final = 60
MAX_JOB_LINES: Final = 60
"""Of each of the last jobs that logged anything: a loud one pushes out no quiet one."""
MAX_TEXT_CHARS: Final = 2000


class RecentLines:
    """Keeps the last `max_lines` records as masked lines, each of bounded length."""

    def __init__(self, *, max_lines: int = MAX_LINES) -> None:
        self._lines: deque[LogLine] = deque(maxlen=max_lines)
        self._of_jobs: dict[str, deque[LogLine]] = {}
        self._mutex = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """How many lines have come so far; the number of the newest one."""
        return self._count

    def since(self, number: int = 0) -> list[LogLine]:
        """The lines that came after the one with this number, oldest first, as far as kept."""
        return self.after(number)[1]

    def after(self, number: int = 0) -> tuple[int, list[LogLine]]:
        """The same, and the number of the newest of them: what to ask with the next time."""
        with self._mutex:
            lines, newest = list(self._lines), self._count
        missed = newest - number
        kept = lines[-missed:] if 0 < missed < len(lines) else lines if missed > 0 else []
        return newest, kept

    def of_job(self, job_id: str) -> list[LogLine]:
        """The last lines that belong to a job, oldest first, as far as kept."""
        with self._mutex:
            return list(self._of_jobs.get(job_id, ()))

    def add(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        line = read_line(record)
        if max(len(line.message), len(line.exception)) > MAX_TEXT_CHARS:
            line = attrs.evolve(
                line,
                message=cut(line.message, MAX_TEXT_CHARS),
                exception=cut(line.exception, MAX_TEXT_CHARS, keep_end=True),
            )
        with self._mutex:
            self._lines.append(line)
            self._count += 1
            if isinstance(job_id := line.fields.get("job_id"), str):
                # The job that was heard of last is the last to be forgotten.
                of_job = self._of_jobs.pop(job_id, None) or deque(maxlen=MAX_JOB_LINES)
                of_job.append(line)
                self._of_jobs[job_id] = of_job
                if len(self._of_jobs) > MAX_JOBS:
                    del self._of_jobs[next(iter(self._of_jobs))]


@contextmanager
def recent_lines() -> Iterator[RecentLines]:
    """Keep what our loggers log while the body runs."""
    recent = RecentLines()
    with listening(recent.add):
        yield recent
