"""The stderr of a job process as records of the worker's log, at a bounded rate.

A line is a record of the runner's logging, a part of the stacks that faulthandler writes, or plain
text. What is read comes from foreign code: it is taken as a text, a number in bounds, or a field of
its own. A job that writes is never held up: lines that come faster than the bound are counted and
thrown away.
"""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import attrs
import trio

from .._masking import cut, hide_passing, mask_value
from ..control.ndjson import Line, LineSplitter
from ..system.trio_internals import CORE_PATH

MAX_LINES: Final = 200
BEGINNINGS: Final = (b"Fatal Python error: ", b"Current thread 0x", b"Thread 0x")
"""How the first line of a dump begins. Of the lines of a flood, few do."""

_FATAL: Final = "Fatal Python error: "
_THREAD: Final = re.compile(r"(?:Current thread|Thread) 0x[0-9a-f]+.* \(most recent call first\):$")
_GOES_ON: Final = re.compile(
    r"$|  File \"|  \.\.\.$|  <|  Binary file |  Garbage-collecting$"
    r"|Python runtime state: |Current thread's C stack trace|Extension modules: "
)
# Frames below these show how a job came to run, and not what blocks or crashes it.
_PLUMBING: Final = re.compile(
    rf'  File "[^"]*(?:{CORE_PATH}|[/\\]vsdk_trio[/\\]runner[/\\]execution\.py)'
)


@attrs.frozen
class StackDump:
    """The stacks of a process's threads, innermost frame first; the current thread comes first."""

    text: str
    fatal: str = ""
    """The error that the process died of, as Python has it; empty where it lives on."""


class StackCollector:
    """Takes a process's lines one by one, and keeps those that belong to a dump."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @property
    def is_collecting(self) -> bool:
        """Whether a dump has begun. It has no last line: `end` ends it."""
        return bool(self._lines)

    def wants(self, line: str) -> bool:
        """Return whether `line` continues the dump that has begun, or begins one."""
        if not self._lines:
            return line.startswith(_FATAL) or _THREAD.match(line) is not None
        if len(self._lines) >= MAX_LINES or line.startswith(_FATAL):
            return False
        return _GOES_ON.match(line) is not None or _THREAD.match(line) is not None

    def take(self, line: str) -> None:
        """Add a line to the dump."""
        self._lines.append(line)

    def end(self) -> StackDump | None:
        """End the dump that has begun, and return it; None if there is none."""
        if not self._lines:
            return None
        lines, self._lines = self._lines, []
        fatal = lines.pop(0).removeprefix(_FATAL) if lines[0].startswith(_FATAL) else ""
        return StackDump("\n".join(_tidied(lines)), fatal)


def _tidied(lines: list[str]) -> list[str]:
    """Drop the frames below the user's, threads that only wait for work, and empty lines."""
    blocks: list[list[str]] = []
    for line in filter(None, lines):
        if _THREAD.match(line) or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    blocks.sort(key=lambda block: not block[0].startswith("Current thread"))
    tidied = [line for block in map(_cut, blocks) if len(block) > 1 for line in block]
    return tidied or [line for line in lines if line]


def _cut(block: list[str]) -> list[str]:
    for number, line in enumerate(block):
        if number and _PLUMBING.match(line):
            return block[:number]
    return block


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
    """The content of a line. `created` is None if the line does not say when it was logged."""

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
    """Whether the user's code has printed it. Such a line is shown also at a low level."""


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


TAIL_LINES: Final = 20
REPORT_SECONDS: Final = 1.0
"""Seconds between two reports of dropped lines, while more come."""

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
        """Add `fields` to all further records, and mask `secrets` everywhere."""
        self._fields = {**fields, "pid": self._pid}
        hide_passing(*secrets)

    def line(self, line: Line, now: float) -> None:
        """Log one line, count it as dropped, or keep it for a dump.

        Args:
            line: The line.
            now: The time in seconds.
        """
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
        """End the dump that has begun, if there is one, and log it."""
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
        """During the body, give the first dump of a process that lives on to `taker`."""
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
        """At the limit every other line is dropped, so a report for each would double the log."""
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


MAX_LINE_BYTES: Final = 16 << 10
# Small enough that a flood does not hold up the event loop: a chunk of short lines takes 5 ms.
_CHUNK_BYTES: Final = 16 << 10
# A dump has no last line. It is written without a pause, so text after this time is another.
_STACKS_SECONDS: Final = 0.3


async def pump_stderr(stream: trio.abc.ReceiveStream, log: JobLog) -> None:
    """Read `stream` to its end into `log`; return at EOF, or where the stream breaks or closes.

    Cancelled, it still logs the unfinished last line and the count of what was dropped.
    """
    splitter = LineSplitter(MAX_LINE_BYTES)
    try:
        while True:
            chunk: bytes | bytearray | None = None
            with trio.move_on_after(_idle_seconds(log)):
                chunk = await stream.receive_some(_CHUNK_BYTES)
            now = trio.current_time()
            if chunk is None:  # no more text belongs to the last line
                log.end_stacks(now)
                log.report_dropped()
                continue
            if not chunk:
                break
            for line in splitter.feed(chunk):
                log.line(line, now)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        now = trio.current_time()
        for line in splitter.rest():
            log.line(line, now)
        log.end_stacks(now)
        log.report_dropped()


def _idle_seconds(log: JobLog) -> float:
    """Return how many seconds to wait for more text before a dump or a report is complete."""
    if log.is_in_stacks:
        return _STACKS_SECONDS
    return REPORT_SECONDS if log.owes_report else float("inf")
