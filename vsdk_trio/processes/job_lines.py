"""A line of a job's stderr, read: a record of the runner's logging, or plain text.

Pure. Knows the line format that a runner's log handler writes. What it reads comes from foreign
code: nothing in it is taken for more than a text, a number in bounds, or a field of its own.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any, Final

import attrs

from .._masking import cut
from ..control.ndjson import Line

_MAX_NAME_CHARS: Final = 200
_NAMED: Final = r"(?:TRACE|DEBUG|INFO|SUCCESS|WARNING|ERROR|CRITICAL|FATAL)"
_NUMBERS: Final = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "SUCCESS": 25,
    "WARNING": 30,
    "WARN": 30,
    "ERROR": 40,
    "CRITICAL": 50,
    "FATAL": 50,
}
"""Those of logging and of loguru, by name; structlog has the first, in small letters."""
# At the beginning of a line, and nowhere else: a text may well have the word in it.
_LEVELLED: Final = re.compile(
    rf"""
      (?P<basic> {_NAMED} ) : [\w.-]{{1,200}} :  # as logging.basicConfig has it
    | \[? \d{{4}}-\d\d-\d\d [T\ ] \d\d:\d\d:\d\d (?:[.,]\d{{1,9}})? (?:Z|[+-]\d\d:?\d\d)? \]?
      (?: [ ]{{1,2}} \[ (?P<bracketed> (?i:{_NAMED}) ) [ ]{{0,9}} \] [ ]  # as structlog has it
        | (?: [ ][|-][ ] | [ ]{{1,2}} ) (?: [\w.-]{{1,200}} [ ][|-][ ] )?
          (?P<timed> {_NAMED} ) [ ]{{0,9}} (?: [:|-] | [ ] )  # as loguru, and many a format
      )
    """,
    re.VERBOSE,
)
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]{0,20}m")
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
    printed: bool = False
    """Whether the user's code has printed it: then it is shown, also at a low level."""


def read_job_line(line: Line) -> JobLine:
    """Read one line, whatever is in it."""
    text = line.data.decode("utf-8", "backslashreplace").rstrip("\r")
    if line.truncated:
        return _printed(text, truncated=True)
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            if isinstance(value.get("msg"), str):
                return _read_record(value)
            return _printed(text, _level_in(value))
    return _printed(text)


def _printed(text: str, name: str = "", **fields: Any) -> JobLine:
    """A line that is no record; with a level, where it is certain."""
    name = name or _level_at_the_beginning(text)
    level = _NUMBERS.get(name, logging.INFO)
    return JobLine(text=text, level=level, level_name=name or "INFO", fields=fields, printed=True)


def _level_at_the_beginning(text: str) -> str:
    found = _LEVELLED.match(_COLOURS.sub("", text[:1000]) if "\x1b" in text[:1000] else text)
    return found[found.lastgroup].upper() if found and found.lastgroup else ""


def _level_in(value: dict[str, Any]) -> str:
    """The level in an object that another library has written, such as structlog or loguru."""
    record = value.get("record")
    loguru = record.get("level") if isinstance(record, dict) else None
    name = loguru.get("name") if isinstance(loguru, dict) else None
    for found in (name, *(value.get(key) for key in ("level", "levelname", "severity"))):
        if isinstance(found, str) and found.upper() in _NUMBERS:
            return found.upper()
    return ""


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
        printed=value.get("printed") is True,
    )


def _level(value: dict[str, Any]) -> tuple[int, str]:
    name = _text(value, "level").upper() or _level_at_the_beginning(value["msg"])
    number = value.get("levelno")
    if type(number) is int and 0 <= number <= 100 and name:
        return number, name
    known = _NUMBERS.get(name)
    return (logging.INFO, "INFO") if known is None else (known, name)


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    return cut(text, _MAX_NAME_CHARS) if isinstance(text, str) else ""
