"""One log record as a value that may leave the program, and its text for a person or for a program.

Every text in a `LogLine` is masked and bounded. The formats are pure functions of a `LogLine`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from ..._masking import cut, mask, mask_value
from .loggers import STANDARD_FIELDS

MAX_MESSAGE_CHARS: Final = 16 << 10
MAX_EXCEPTION_CHARS: Final = 32 << 10
_TRACEBACKS: Final = logging.Formatter()


@attrs.frozen(kw_only=True)
class LogLine:
    """What one record says."""

    created: float
    """Seconds since the epoch, of when it was logged first: in the job process, if it came so."""
    level: int
    level_name: str
    logger: str
    """The logger's name, in a job process if the record came from there."""
    message: str
    exception: str = ""
    """The traceback, or the stack that belongs to the record; may have many lines."""
    file: str = ""
    """Where it was logged: `agent.py:12`."""
    thread: str = ""
    """The thread's name, where it is not the main one."""
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    """Everything else: `job_id`, `room_id`, `agent_id`, ...; as JSON has it."""


def read_line(record: logging.LogRecord) -> LogLine:
    """What `record` says, masked. Never raises, whatever is in the record."""
    extra = {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}
    source = extra.pop("source", None)
    return LogLine(
        created=record.created,
        level=record.levelno,
        level_name=record.levelname,
        logger=mask(source if isinstance(source, str) else str(record.name)),
        message=cut(_message(record), MAX_MESSAGE_CHARS),
        # The end of a traceback says more than its beginning.
        exception=cut(_exception(record), MAX_EXCEPTION_CHARS, keep_end=True),
        file=f"{record.filename}:{record.lineno}" if record.lineno else "",
        thread=_thread(record),
        fields=mask_value(extra) if extra else {},
    )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # foreign arguments: the record must not get lost for them
        return f"{record.msg} (its arguments do not fit: {type(error).__name__})"


def _exception(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        try:
            text = _TRACEBACKS.formatException(record.exc_info)
        except Exception as error:  # of foreign exceptions
            text = f"{record.exc_info[0].__name__} (its text raises {type(error).__name__})"
    else:
        text = record.exc_text or ""
    return "\n".join(filter(None, (text, record.stack_info)))


def _thread(record: logging.LogRecord) -> str:
    name = record.threadName or ""
    return "" if name == "MainThread" else mask(name)


NARROW_COLUMNS: Final = 100
_IDS: Final = ("job_id", "room_id", "agent_id", "worker_id", "pid")
_SEVERITIES: Final = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"))
_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_COLOURS: Final = {
    "DEBUG": _DIM,
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
}
# A terminal obeys control characters; those that a job prints must not reach the operator's.
_CONTROL: Final = {
    code: f"\\x{code:02x}"
    for code in (*range(32), 127, *range(128, 160))
    if chr(code) not in "\n\t"
}


def rfc3339(created: float) -> str:
    """`created` (seconds since the epoch) in UTC with milliseconds: `2026-01-31T12:00:00.123Z`."""
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def severity(level: int) -> str:
    """The standard name at or below `level`: "INFO" for a level of 25."""
    return next((name for least, name in _SEVERITIES if level >= least), "DEBUG")


def as_json(line: LogLine) -> str:
    """One JSON object on one line.

    `time`, `level`, `severity`, `logger` and `message` are always there and come first. `severity`
    is the level as Google's Cloud Logging names it, also for a level of the user's own. Then come
    `job_id`, `room_id`, `agent_id`, `worker_id` and `pid` where they are known, `exception`,
    `file`, `thread`, and whatever else the record carries.
    """
    entry: dict[str, Any] = {
        "time": rfc3339(line.created),
        "level": line.level_name,
        "severity": severity(line.level),
        "logger": line.logger,
        "message": line.message,
    }
    fields = dict(line.fields)
    for name in _IDS:
        if name in fields:
            entry[name] = fields.pop(name)
    for name, text in (("exception", line.exception), ("file", line.file), ("thread", line.thread)):
        if text:
            entry[name] = text
    for name, value in fields.items():
        entry.setdefault(name, value)
    return json.dumps(entry, default=str, ensure_ascii=False, separators=(",", ":"))


def as_console(line: LogLine, *, colours: bool = False, columns: int = 0) -> str:
    """Time, level, logger, message and fields; what has more lines is indented below.

    `columns` is the width of the terminal, 0 where there is none: a narrow one is spared the
    milliseconds, the logger, and all ids but the job's.
    """
    narrow = 0 < columns < NARROW_COLUMNS
    when = f"{datetime.fromtimestamp(line.created):%H:%M:%S}"
    level = line.level_name
    colour = _COLOURS.get(level, "") if colours else ""
    dim, reset = (_DIM, _RESET) if colours else ("", "")
    if narrow:
        head = f"{dim}{when}{reset} {colour}{level[:1]}{reset if colour else ''}"
    else:
        when += f".{int(line.created % 1 * 1000):03d}"
        source = _printable(line.logger.removeprefix("vsdk_trio."))
        head = f"{dim}{when}{reset} {colour}{level:<7}{reset if colour else ''} {source}:"
    first, *more = _printable(line.message).split("\n")
    if line.exception:
        more += _printable(line.exception).split("\n")
    fields = _fields(line, narrow=narrow)
    text = f"{head} {first}" + (f" {dim}{fields}{reset}" if fields else "")
    return "\n    ".join((text, *more)) if more else text


def _fields(line: LogLine, *, narrow: bool) -> str:
    if narrow:
        job_id = line.fields.get("job_id")
        return f"job={_printable(str(job_id))[:8]}" if job_id else ""
    return _printable(" ".join(f"{name}={_short(value)}" for name, value in line.fields.items()))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text.replace("\n", "\\n")


def _printable(text: str) -> str:
    return text.translate(_CONTROL)
