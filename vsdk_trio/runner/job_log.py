"""The log of a job process: each record is one line of JSON on stderr, where the worker reads it.

A line is an object with `msg`, `level`, `logger`, `time`, `file` and `line`, and `thread`, `exc`
and `extra` if there are any.

Each record leaves once, however the user configures `logging`. It is written when it reaches
`Logger.callHandlers`, with its level and fields. What a handler then writes to stderr or stdout is
a rendition of the same record, and is held back. So no handler, level or format of the user doubles
a line or flattens it; files, sockets and services get what they got before. Text that is written
while no record is handled is a line of its own: a `print`, or a logging library beside `logging`.

Three functions of `logging` and the two streams are replaced for that, because everything goes
through them. Loggers, handlers and levels are replaced whenever the user configures them.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import threading
from typing import Any, Final

from .._masking import cut, mask_value
from ..telemetry.logs.loggers import STANDARD_FIELDS, leave_by

MAX_LINE_BYTES = 16 << 10
"""What the worker reads of one line; a longer one would arrive as broken JSON."""

_SAID = "_vsdk_trio_said"  # formatters that show all fields leave out those with an underscore
_CUT_CHARS = 1000  # each takes at most six bytes, so two cut texts fit into a line


class RunnerLog:
    """Writes records to the file descriptor `fd`, each with a single `write`, and each once.

    The way out of our own loggers, and of what reaches a handler of the user's. A record that
    cannot be written is lost: a worker that is gone must not fail the job.
    """

    def __init__(self, fd: int, level: int = logging.INFO) -> None:
        self.level = level
        self._fd = fd

    def say(self, record: logging.LogRecord) -> logging.LogRecord:
        """Write one record, unless it was written before; returns it."""
        if _SAID not in vars(record):
            vars(record)[_SAID] = True
            self._write(encode_record(record))
        return record

    def offer(self, record: logging.LogRecord) -> None:
        """Write a record of the user's, if its level is high enough."""
        if record.levelno >= self.level:
            self.say(record)

    def say_printed(self, record: logging.LogRecord) -> None:
        """Write a record that a handler of the user's prints, whatever its level."""
        if _SAID not in vars(record):
            vars(record)[_SAID] = True
            self._write(encode_record(record, printed=True))

    def say_trace(self, text: str, trace: str) -> None:
        """Write a printed text with the traceback below it, as one record."""
        fields = {
            "msg": _masked(text),
            "exc": _masked(trace, keep_end=True),
            "printed": True,
        }
        self._write(_bounded(fields))

    def prints(self, handler: logging.Handler) -> bool:
        """False: what a handler prints of a record is held back by `renditions`."""
        return False

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # the worker is gone, and there is no other log
            os.write(self._fd, line)


def encode_record(record: logging.LogRecord, *, printed: bool = False) -> bytes:
    """The line for `record`, newline included, at most `MAX_LINE_BYTES` long.

    `printed`: whether the user's code prints it; such a line is shown also at a low level.
    """
    message, exc_info, extra = _read(record)
    fields: dict[str, Any] = {
        "msg": _masked(message),
        "level": record.levelname,
        "levelno": record.levelno,
        "logger": record.name,
        "time": round(record.created, 6),
        "file": cut(record.filename, _CUT_CHARS),
        "line": record.lineno,
    }
    if printed:
        fields["printed"] = True
    if record.threadName and record.threadName != "MainThread":
        fields["thread"] = cut(record.threadName, _CUT_CHARS)
    traces = filter(None, (_traceback(exc_info) or record.exc_text, record.stack_info))
    if trace := "\n".join(traces):
        fields["exc"] = _masked(trace, keep_end=True)
    if extra:
        fields["extra"] = mask_value(extra)
    return _bounded(fields)


def _read(record: logging.LogRecord) -> tuple[str, Any, dict[str, Any]]:
    """The message, exception and fields of a record, whatever is in it."""
    extra = {
        name: value
        for name, value in vars(record).items()
        if name not in STANDARD_FIELDS and not name.startswith("_")
    }
    event = record.msg
    if isinstance(event, dict) and isinstance(event.get("event"), str):  # as structlog has it
        extra |= {str(name): v for name, v in event.items() if not str(name).startswith("_")}
        exc_info = extra.pop("exc_info", None)
        return extra.pop("event"), exc_info or record.exc_info, extra
    try:
        return record.getMessage(), record.exc_info, extra
    except Exception as error:  # of foreign arguments: the record must not get lost for them
        text = f"{record.msg!r} (its arguments do not fit: {type(error).__name__}: {error})"
        return text, record.exc_info, extra


def _traceback(exc_info: Any) -> str:
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif exc_info is True:
        exc_info = sys.exc_info()
    if not isinstance(exc_info, tuple) or exc_info[0] is None:
        return ""
    try:
        return logging.Formatter().formatException(exc_info)
    except Exception as error:  # of foreign exceptions
        return f"{exc_info[0].__name__} (its text raises {type(error).__name__})"


def _bounded(fields: dict[str, Any]) -> bytes:
    line = _encode(fields)
    if len(line) <= MAX_LINE_BYTES:
        return line
    for name in ("extra", "thread", "file", "line"):
        fields.pop(name, None)
    fields["msg"] = _cut(fields["msg"])
    if "exc" in fields:
        # The end of a traceback says more than its beginning.
        fields["exc"] = "…" + fields["exc"][-_CUT_CHARS:]
    fields["truncated"] = True
    return _encode(fields)


def _masked(text: str, *, keep_end: bool = False) -> str:
    return cut(text, MAX_LINE_BYTES, keep_end=keep_end)


def _dump(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def _encode(fields: dict[str, Any]) -> bytes:
    # Half a surrogate pair, as from a path, is no Unicode. It becomes an escape, which JSON knows.
    return _dump(fields).encode("utf-8", "backslashreplace") + b"\n"


def _cut(text: str) -> str:
    return text if len(text) <= _CUT_CHARS else text[:_CUT_CHARS] + "…"


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
    """The buffer below such a stream. Other code may put a stream of its own on it."""

    def write(self, data: Any, /) -> int:
        return super().write(data) if _now.record is None else memoryview(data).nbytes
