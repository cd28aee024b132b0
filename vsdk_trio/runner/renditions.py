"""Every record of a job process leaves once, whoever configures `logging`, and in which way.

The rule: a record is said when it reaches `Logger.callHandlers`, with its level and its fields.
What a handler then writes to stderr or stdout is a rendition of the same record, and held back. So
no handler, level or format of the user's doubles a line or flattens it; files, sockets and services
get what they got before. What is written while no record is handled is a line of its own: a
`print`, or a logging library beside `logging`.

Three functions of `logging` and the two streams are replaced for that, because everything goes
through them: loggers, handlers and levels are made anew by whoever configures them.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import Any, Final

from ..telemetry.logs.loggers import leave_by
from .job_log import RunnerLog

_TRACE: Final = "\nTraceback (most recent call last):\n"


class _Now(threading.local):
    """What this thread is at."""

    record: logging.LogRecord | None = None
    """The record that handlers are handling."""


_now: Final = _Now()


def install(fd: int, level: str = "INFO") -> RunnerLog:
    """Have this process say its records to `fd` from `level` on; warnings are logged, too."""
    log = RunnerLog(fd)
    leave_by(log)
    set_level(log, level)
    logging.captureWarnings(True)
    _take_records(log)
    for name in ("stdout", "stderr"):
        _take_stream(name, log)
    return log


def set_level(log: RunnerLog, level: str) -> None:
    """Have everything said from `level` on that the user's code does not keep to itself."""
    log.level = logging.getLevelNamesMapping()[level]
    root = logging.getLogger()
    if root.level != log.level:  # to set it goes through all loggers
        root.setLevel(log.level)


def _take_records(log: RunnerLog) -> None:
    call_handlers = logging.Logger.callHandlers
    handle, handle_error = logging.Handler.handle, logging.Handler.handleError

    def say_and_call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        log.offer(record)
        before, _now.record = _now.record, record
        try:
            call_handlers(self, record)
        finally:
            _now.record = before

    def handle_held_back(self: logging.Handler, record: logging.LogRecord) -> bool:
        # Not always below a logger: a QueueListener's thread calls handlers, too.
        before, _now.record = _now.record, record
        try:
            return handle(self, record)
        finally:
            _now.record = before

    def tell_error(self: logging.Handler, record: logging.LogRecord) -> None:
        # A handler's own trouble is no rendition.
        before, _now.record = _now.record, None
        try:
            handle_error(self, record)
        finally:
            _now.record = before

    # mypy takes an assignment to a method for a mistake.
    logging.Logger.callHandlers = say_and_call_handlers  # type: ignore[method-assign]
    logging.Handler.handle = handle_held_back  # type: ignore[method-assign]
    logging.Handler.handleError = tell_error  # type: ignore[method-assign]


def _take_stream(name: str, log: RunnerLog) -> None:
    stream = getattr(sys, name)
    if not isinstance(stream, io.TextIOWrapper):  # it is closed
        return
    stream.flush()
    ours = _Stream(
        _Buffer(io.FileIO(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
        write_through=stream.write_through,
    )
    ours.log = log
    setattr(sys, name, ours)
    setattr(sys, f"__{name}__", ours)


class _Stream(io.TextIOWrapper):
    """stderr or stdout, without renditions of records that were said."""

    log: RunnerLog

    def write(self, text: str, /) -> int:
        if (record := _now.record) is not None:
            self.log.say_printed(record)  # of a low level, or logged by another process
            return len(text)
        if _TRACE in text:  # written at once, so it belongs together
            head, mark, trace = text.rstrip("\n").partition(_TRACE)
            super().flush()
            self.log.say_trace(head, mark.lstrip("\n") + trace)
            return len(text)
        return super().write(text)

    def flush(self) -> None:
        if _now.record is None:
            super().flush()


class _Buffer(io.BufferedWriter):
    """What is below such a stream: others may have put a stream of their own on it."""

    def write(self, data: Any, /) -> int:
        return super().write(data) if _now.record is None else memoryview(data).nbytes
