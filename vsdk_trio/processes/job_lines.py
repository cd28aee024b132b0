"""A line of a job's stderr, read: a record of the runner's logging, or plain text.

Pure. Knows the line format that a runner's log handler writes. What it reads comes from foreign
code: nothing in it is taken for more than a text, a number in bounds, or a field of its own.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

import attrs

from .._masking import cut
from ..control.ndjson import Line

_MAX_NAME_CHARS: Final = 200
_MAX_TIME: Final = 4e9  # seconds; the year 2096, and what a `datetime` can be made of


@attrs.frozen(kw_only=True)
class JobLine:
    """What a line says. `created` is None where the line does not tell when it was logged."""

    text: str
    level: int = logging.INFO
    level_name: str = "INFO"
    created: float | None = None
    thread: str = ""
    file: str = ""
    line_number: int = 0
    trace: str = ""
    fields: dict[str, Any] = attrs.field(factory=dict)


def read_job_line(line: Line) -> JobLine:
    """Read one line, whatever is in it."""
    text = line.data.decode("utf-8", "backslashreplace").rstrip("\r")
    if line.truncated:
        return JobLine(text=text, fields={"truncated": True})
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("msg"), str):
            return _read_record(value)
    return JobLine(text=text)


def _read_record(value: dict[str, Any]) -> JobLine:
    level, name = _level(value)
    fields: dict[str, Any] = {}
    if source := _text(value, "logger"):
        fields["source"] = source
    if isinstance(extra := value.get("extra"), dict):
        # As one field: a job's own names must not overwrite what makes a record.
        fields["extra"] = extra
    if value.get("truncated") is True:
        fields["truncated"] = True
    created = value.get("time")
    number = value.get("line")
    trace = value.get("exc")
    return JobLine(
        text=value["msg"],
        level=level,
        level_name=name,
        created=created if type(created) is float and 0 <= created < _MAX_TIME else None,
        thread=_text(value, "thread"),
        file=_text(value, "file"),
        line_number=number if type(number) is int and 0 <= number < 1 << 31 else 0,
        trace=trace if isinstance(trace, str) else "",
        fields=fields,
    )


def _level(value: dict[str, Any]) -> tuple[int, str]:
    name = _text(value, "level").upper()
    number = value.get("levelno")
    if type(number) is int and 0 <= number <= 100 and name:
        return number, name
    known = logging.getLevelNamesMapping().get(name)
    return (logging.INFO, "INFO") if known is None else (known, name)


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    return cut(text, _MAX_NAME_CHARS) if isinstance(text, str) else ""
