"""Log records of a job process as lines of JSON on stderr, where the worker reads them.

One object a line, with `msg`, `level`, `logger`, `time`, `file` and `line`, and `thread`, `exc`
and `extra` where there are any. Anything else that reaches stderr needs no help from here. Where
records come from is `renditions`. Must not know jobs or frames.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import Any

from .._masking import cut, mask_value
from ..telemetry.logs.loggers import STANDARD_FIELDS

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
        with contextlib.suppress(OSError):  # nobody reads any more: there is nowhere to say so
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
    # What is no Unicode (half a surrogate pair, from a path) becomes an escape, which JSON knows.
    return _dump(fields).encode("utf-8", "backslashreplace") + b"\n"


def _cut(text: str) -> str:
    return text if len(text) <= _CUT_CHARS else text[:_CUT_CHARS] + "…"
