"""A line of the log as a text: for a person at a terminal, or for a program.

Pure functions of a `LogLine`. Must not know where the text goes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from .lines import LogLine

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
