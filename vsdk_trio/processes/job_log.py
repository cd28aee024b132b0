"""A job process's lines as records of the worker's log, at a bounded rate.

It does not know jobs beyond the fields it is given. A job that writes is never held up: what comes
faster than the bound is counted and thrown away.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import trio

from .._masking import cut, hide_passing, mask_value
from ..control.ndjson import Line
from .job_lines import JobLine, read_job_line
from .stack_dump import BEGINNINGS, StackCollector, StackDump

TAIL_LINES: Final = 20
REPORT_SECONDS: Final = 1.0
"""How often it is said that lines were dropped, while more come."""

_TAIL_LINE_CHARACTERS: Final = 500
_MOST_CHARACTERS: Final = 64 << 10
_UNITS_PER_SECOND: Final = 500.0
_BURST_UNITS: Final = 2000.0
_BYTES_PER_UNIT: Final = 512


class JobLog:
    """Lines of one job process as records of `logger`; remembers the last ones.

    A record carries `pid`, and the job's fields once `bind` was called; one that the runner's
    logging wrote keeps its time, level, thread and place, and carries the logger's name as
    `source` and its fields as `extra`. The stacks of a crash are one record.
    """

    def __init__(self, logger: logging.Logger, pid: int) -> None:
        self._logger = logger
        self._pid = pid
        self._fields: dict[str, Any] = {"pid": pid}
        self._tail: deque[Line] = deque(maxlen=TAIL_LINES)
        self._stacks = StackCollector()
        self._on_stacks: Callable[[str], object] | None = None
        self._units = _BURST_UNITS
        self._refilled_at: float | None = None
        self._unreported = 0
        self._may_report_at = 0.0
        self.dropped_lines = 0
        """How many lines came too fast to be logged."""

    def bind(self, fields: Mapping[str, Any], secrets: Iterable[str] = ()) -> None:
        """Records from now on carry `fields`; `secrets` are masked, here and everywhere."""
        self._fields = {**fields, "pid": self._pid}
        hide_passing(*secrets)

    def line(self, line: Line, now: float) -> None:
        """Log one line, or count it as dropped, or keep it for a dump. `now` in seconds."""
        if self._stacks.is_collecting or line.data.startswith(BEGINNINGS):
            text = line.data.decode("utf-8", "backslashreplace").rstrip()
            if not self._stacks.wants(text):
                self.end_stacks(now)
            if self._stacks.wants(text):
                self._stacks.take(text)
                return
        self._tail.append(line)
        if not self._may_pass(len(line.data), now):
            self._count_dropped(1)
            return
        self._report_dropped_at_times(now)
        self._log(read_job_line(line))

    @property
    def is_in_stacks(self) -> bool:
        """Whether the last line belongs to a dump, which `end_stacks` ends."""
        return self._stacks.is_collecting

    def end_stacks(self, now: float) -> None:
        """No more lines belong to the dump that has begun, if one has."""
        if (dump := self._stacks.end()) is None:
            return
        if not dump.fatal and self._on_stacks is not None:
            taker, self._on_stacks = self._on_stacks, None
            taker(_masked(dump.text))
            return
        lines = dump.text.count("\n") + 1
        if self._may_pass(lines * _BYTES_PER_UNIT, now):
            self._report_dropped_at_times(now)
            self._log_dump(dump)
        else:
            self._count_dropped(lines)

    @contextmanager
    def stacks_for(self, taker: Callable[[str], object]) -> Iterator[None]:
        """During the body, the first dump of a process that lives on goes to `taker`."""
        self._on_stacks = taker
        try:
            yield
        finally:
            self._on_stacks = None

    def junk(self, reason: str) -> None:
        """Log that a line of the control channel was not a frame."""
        if self._may_pass(0, trio.current_time()):
            text = f"not a frame on the control channel: {reason}"
            self._log(_own(logging.WARNING, text))

    @property
    def owes_report(self) -> bool:
        """Whether lines were dropped since the last report."""
        return bool(self._unreported)

    def _report_dropped_at_times(self, now: float) -> None:
        """At the rate's limit every other line is dropped, and no log is helped by saying so."""
        if now >= self._may_report_at:
            self._may_report_at = now + REPORT_SECONDS
            self.report_dropped()

    def report_dropped(self) -> None:
        """Log how many lines were dropped since the last report, if any."""
        if self._unreported:
            count, self._unreported = self._unreported, 0
            text = f"{count} lines came too fast and were dropped"
            self._log(_own(logging.WARNING, text))

    @property
    def tail(self) -> tuple[str, ...]:
        """The last `TAIL_LINES` lines as text, masked, each cut to a readable length."""
        return tuple(self._tail_text(read_job_line(line)) for line in self._tail)

    def _tail_text(self, line: JobLine) -> str:
        text = f"{line.text}\n{line.trace}" if line.trace else line.text
        return cut(text, _TAIL_LINE_CHARACTERS)

    def _log_dump(self, dump: StackDump) -> None:
        if dump.fatal:
            text = f"the job process crashed: {dump.fatal}"
            lines = [text, *dump.text.split("\n")][:TAIL_LINES]
            self._tail.extend(Line(line.encode()) for line in lines)
            self._log(_own(logging.CRITICAL, text, dump.text))
        else:
            self._log(_own(logging.WARNING, "stacks of the job process", dump.text))

    def _log(self, line: JobLine) -> None:
        logger = self._logger
        if not logger.isEnabledFor(max(line.level, logging.INFO) if line.printed else line.level):
            return
        record = logger.makeRecord(
            logger.name,
            line.level,
            line.file,
            line.line_number,
            "%s",
            (_masked(line.text),),
            None,
            extra={**self._fields, **mask_value(line.fields)},
        )
        record.levelname = line.level_name
        record.exc_text = _masked(line.trace, keep_end=True) or None
        record.process = self._pid
        record.threadName = line.thread or "MainThread"
        if line.created is not None:
            record.created = line.created
            record.msecs = line.created % 1 * 1000
        logger.handle(record)

    def _count_dropped(self, count: int) -> None:
        self.dropped_lines += count
        self._unreported += count

    def _may_pass(self, size: int, now: float) -> bool:
        if self._refilled_at is not None:
            gained = (now - self._refilled_at) * _UNITS_PER_SECOND
            self._units = min(_BURST_UNITS, self._units + gained)
        self._refilled_at = now
        cost = 1 + size // _BYTES_PER_UNIT
        if self._units < cost:
            return False
        self._units -= cost
        return True


def _masked(text: str, *, keep_end: bool = False) -> str:
    return cut(text, _MOST_CHARACTERS, keep_end=keep_end)


def _own(level: int, text: str, trace: str = "") -> JobLine:
    return JobLine(text=text, level=level, level_name=logging.getLevelName(level), trace=trace)
