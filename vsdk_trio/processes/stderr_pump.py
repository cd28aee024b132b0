"""A job's stderr, read for ever and turned into the worker's log.

It knows the line format that a runner's log handler writes, and takes anything else too: prints,
warnings, C libraries, tracebacks. It does not know jobs beyond their id. A job that writes is
never held up: what comes faster than the bound is counted and thrown away.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import Any, Final

import trio

from ..control.ndjson import Line, LineSplitter

MAX_LINE_BYTES: Final = 16 << 10
TAIL_LINES: Final = 20
_TAIL_LINE_CHARACTERS: Final = 500
# Small enough that a flood does not hold up the event loop: a chunk of short lines takes 5 ms.
_CHUNK_BYTES: Final = 16 << 10
_UNITS_PER_SECOND: Final = 500.0
_BURST_UNITS: Final = 2000.0
_BYTES_PER_UNIT: Final = 512


class JobLog:
    """Lines of one job process as records of `logger`, at a bounded rate; remembers the last ones.

    A record carries `pid`, and `job_id` once `bind` was called; a line that the runner's logging
    wrote keeps its level, and carries the logger's name as `source` and its fields as `extra`.
    """

    def __init__(self, logger: logging.Logger, pid: int) -> None:
        self._logger = logger
        self._fields: dict[str, Any] = {"pid": pid}
        self._tail: deque[Line] = deque(maxlen=TAIL_LINES)
        self._units = _BURST_UNITS
        self._refilled_at: float | None = None
        self._unreported = 0
        self.dropped_lines = 0
        """How many lines came too fast to be logged."""

    def bind(self, job_id: str) -> None:
        """Records from now on carry `job_id`."""
        self._fields["job_id"] = job_id

    def line(self, line: Line, now: float) -> None:
        """Log one line, or count it as dropped. `now` in seconds."""
        self._tail.append(line)
        if not self._may_pass(len(line.data), now):
            self.dropped_lines += 1
            self._unreported += 1
            return
        self.report_dropped()
        level, text, fields = _read(line)
        self._log(level, text, fields)

    def junk(self, reason: str) -> None:
        """Log that a line of the control channel was not a frame."""
        if self._may_pass(0, trio.current_time()):
            self._log(logging.WARNING, f"not a frame on the control channel: {reason}", {})

    def report_dropped(self) -> None:
        """Log how many lines were dropped since the last report, if any."""
        if self._unreported:
            count, self._unreported = self._unreported, 0
            self._log(logging.WARNING, f"{count} lines came too fast and were dropped", {})

    @property
    def tail(self) -> tuple[str, ...]:
        """The last `TAIL_LINES` lines as text, each cut to a readable length."""
        return tuple(_read(line)[1][:_TAIL_LINE_CHARACTERS] for line in self._tail)

    def _log(self, level: int, text: str, fields: dict[str, Any]) -> None:
        self._logger.log(level, "%s", text, extra={**self._fields, **fields})

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


async def pump_stderr(stream: trio.abc.ReceiveStream, log: JobLog) -> None:
    """Read `stream` to its end into `log`; return at EOF, or where the stream breaks or closes.

    Cancelled, it still logs the unfinished last line and the count of what was dropped.
    """
    splitter = LineSplitter(MAX_LINE_BYTES)
    try:
        while chunk := await stream.receive_some(_CHUNK_BYTES):
            now = trio.current_time()
            for line in splitter.feed(chunk):
                log.line(line, now)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        for line in splitter.rest():
            log.line(line, trio.current_time())
        log.report_dropped()


def _read(line: Line) -> tuple[int, str, dict[str, Any]]:
    """Level, text and further fields of one line."""
    text = line.data.decode("utf-8", "backslashreplace").rstrip("\r")
    if line.truncated:
        return logging.INFO, text, {"truncated": True}
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("msg"), str):
            return _read_record(value)
    return logging.INFO, text, {}


def _read_record(value: dict[str, Any]) -> tuple[int, str, dict[str, Any]]:
    level = logging.getLevelNamesMapping().get(str(value.get("level", "")).upper(), logging.INFO)
    text = value["msg"]
    if isinstance(trace := value.get("exc"), str):
        text = f"{text}\n{trace}"
    fields: dict[str, Any] = {}
    if isinstance(source := value.get("logger"), str):
        fields["source"] = source
    if isinstance(extra := value.get("extra"), dict):
        # As one field: a job's own names must not overwrite what makes a record.
        fields["extra"] = extra
    return level, text, fields
