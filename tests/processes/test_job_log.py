"""What a job process writes as records of the worker's log: faithful, masked, crashes in one."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from vsdk_trio.control.ndjson import Line
from vsdk_trio.processes.job_log import MAX_LINES, JobLog, pump_stderr, read_job_line

CRASH = b"""Fatal Python error: Segmentation fault

Thread 0x00007f16951ce6c0 (most recent call first):
  File "/lib/trio/_core/_thread_cache.py", line 1 in _work
Thread 0x00007f16951ce6c1 (most recent call first):
  File "/app/camera.py", line 5 in look

Current thread 0x00007f1695c70b80 (most recent call first):
  File "/app/agent.py", line 11 in crash
  File "/lib/trio/_core/_run.py", line 1 in run

Extension modules: cffi, numpy (total: 2)
"""
CRASH_STACK = """Current thread 0x00007f1695c70b80 (most recent call first):
  File "/app/agent.py", line 11 in crash
Thread 0x00007f16951ce6c1 (most recent call first):
  File "/app/camera.py", line 5 in look"""
STACKS = CRASH.split(b"\n", 2)[2].partition(b"Extension")[0]


class Collector(logging.Logger):
    """A logger that keeps its records."""

    def __init__(self) -> None:
        super().__init__("vsdk_trio.job", logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


def log_of(text: bytes) -> tuple[Collector, JobLog]:
    collector = Collector()
    log = JobLog(collector, 42)
    log.bind({"job_id": "j", "room_id": "r", "agent_id": "a"}, ["opaque-token"])
    for line in text.splitlines():
        log.line(Line(line), 0)
    return collector, log


def test_a_record_keeps_what_it_was_logged_with() -> None:
    wire = {
        "msg": "m",
        "level": "NOTICE",
        "levelno": 25,
        "logger": "agent.tools",
        "time": 1769860800.125,
        "thread": "Thread-1",
        "file": "tools.py",
        "line": 12,
    }
    collector, _ = log_of(json.dumps(wire).encode())
    record = collector.records[0]
    assert (record.levelno, record.levelname) == (25, "NOTICE")
    assert (record.created, record.msecs) == (1769860800.125, 125.0)
    assert (record.threadName, record.filename, record.lineno) == ("Thread-1", "tools.py", 12)
    assert (record.process, record.name) == (42, "vsdk_trio.job")
    values: dict[str, Any] = vars(record)
    assert values["source"] == "agent.tools"
    assert [values[name] for name in ("job_id", "room_id", "agent_id", "pid")] == [
        "j",
        "r",
        "a",
        42,
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {"time": math.inf},
        {"time": -1.0},
        {"time": "x"},
        {"time": True},
        {"line": -1},
        {"line": 1 << 40},
        {"file": 3},
        {"levelno": 1 << 70},
        {"levelno": -1},
        {"exc": ["x"]},
    ],
)
def test_odd_values_are_left_out(odd: dict[str, object]) -> None:
    line = read_job_line(Line(json.dumps({"msg": "m", "level": "ERROR", **odd}).encode()))
    assert (line.text, line.level, line.created, line.line_number) == ("m", logging.ERROR, None, 0)
    assert (line.file, line.trace) == ("", "")


def test_prints_and_traces_are_masked_and_so_is_the_tail() -> None:
    record = json.dumps({"msg": "m opaque-token", "exc": "at opaque-token"}).encode()
    collector, log = log_of(b"a print of opaque-token\nBearer abcdefghij\n" + record)
    shown = [(record.getMessage(), record.exc_text) for record in collector.records]
    assert shown == [("a print of ***", None), ("Bearer ***", None), ("m ***", "at ***")]
    assert log.tail == ("a print of ***", "Bearer ***", "m ***\nat ***")


def test_a_crash_is_one_record_with_the_stacks_that_matter() -> None:
    collector, log = log_of(b"before\n" + CRASH)
    log.end_stacks(0)
    assert collector.messages == ["before", "the job process crashed: Segmentation fault"]
    crash = collector.records[1]
    assert (crash.levelno, crash.exc_text) == (logging.CRITICAL, CRASH_STACK)
    assert crash.__dict__["job_id"] == "j"
    assert "/app/agent.py" in "\n".join(log.tail)


def test_what_is_no_part_of_a_dump_ends_it() -> None:
    collector, log = log_of(CRASH + b"terminate called\n")
    assert [m.partition(":")[0] for m in collector.messages] == [
        "the job process crashed",
        "terminate called",
    ]
    collector, log = log_of(STACKS + b'{"msg": "a record"}\n' + CRASH + CRASH)
    log.end_stacks(0)
    log.end_stacks(0)
    assert collector.messages == [
        "stacks of the job process",
        "a record",
        *["the job process crashed: Segmentation fault"] * 2,
    ]


def test_a_dump_is_bounded_and_costs_what_its_lines_cost() -> None:
    endless = b"Thread 0x1 (most recent call first):\n" + b'  File "a.py", line 1 in f\n' * 1000
    collector, log = log_of(endless)
    log.end_stacks(0)
    assert str(collector.records[0].exc_text).count("\n") == MAX_LINES - 1
    for _ in range(500):
        for line in STACKS.splitlines():
            log.line(Line(line), 0)
        log.end_stacks(0)
    assert log.dropped_lines > 100


def test_stacks_that_were_asked_for_go_to_who_asked() -> None:
    collector, log = log_of(b"")
    got: list[str] = []
    with log.stacks_for(got.append):
        for _ in range(2):
            for line in STACKS.splitlines():
                log.line(Line(line), 0)
            log.end_stacks(0)
    assert got == [CRASH_STACK]
    assert collector.messages == ["stacks of the job process"]


async def test_a_dump_ends_when_nothing_comes_behind_it(autojump_clock: MockClock) -> None:
    collector = Collector()
    log = JobLog(collector, 42)
    far, near = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump_stderr, near, log)
        await far.send_all(STACKS[:150])
        await trio.sleep(0.1)
        await far.send_all(STACKS[150:])
        await trio.sleep(0.1)
        assert collector.messages == []
        await trio.sleep(1)
        assert collector.messages == ["stacks of the job process"]
        await far.send_all(CRASH)
        await trio.lowlevel.checkpoint()
        far.close()
    assert collector.messages[1:] == ["the job process crashed: Segmentation fault"]


async def test_what_is_dropped_is_said_at_times_and_when_the_flood_is_over(
    autojump_clock: MockClock,
) -> None:
    collector = Collector()
    log = JobLog(collector, 42)
    far, near = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump_stderr, near, log)
        for _ in range(300):  # three seconds at ten times the rate
            await far.send_all(b"x\n" * 50)
            await trio.sleep(0.01)
        said = [m for m in collector.messages if m != "x"]
        assert 1 <= len(said) <= 4
        await trio.sleep(10)
        said = [int(m.split()[0]) for m in collector.messages if m != "x"]
        assert sum(said) == log.dropped_lines
        far.close()
    assert len(collector.messages) - len(said) + log.dropped_lines == 15_000


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("ERROR:root:boom", "ERROR"),
        ("2026-11-29 04:00:00.123 | ERROR    | agent:run:12 - boom", "ERROR"),
        ("\x1b[32m2026-11-29 04:00:00.123\x1b[0m | \x1b[1mSUCCESS \x1b[0m | a:b:1 - x", "SUCCESS"),
        ("2026-11-29 04:00:00 [warning  ] structured         call=7", "WARNING"),
        ("2026-11-29T04:00:00.1Z [error    ] structured", "ERROR"),
        ("2026-11-29 04:00:00,123 - my.agent - CRITICAL - boom", "CRITICAL"),
        ("2026-11-29 04:00:00,123 WARNING my.agent: boom", "WARNING"),
        ('{"event": "structured", "level": "error"}', "ERROR"),
        ('{"message": "m", "severity": "WARNING"}', "WARNING"),
        ('{"text": "t", "record": {"level": {"name": "DEBUG", "no": 10}}}', "DEBUG"),
        ("an ERROR:root:boom inside", "INFO"),
        ("ERROR: not a format that is known for certain", "INFO"),
        ("2026-11-29 04:00:00 error rates are fine", "INFO"),
        ("2026-11-29 04:00:00 the ERROR is gone", "INFO"),
        ('{"event": "structured", "level": 7}', "INFO"),
        ('{"record": {"level": ["ERROR"]}}', "INFO"),
        ("[1, 2]", "INFO"),
    ],
)
def test_a_printed_line_keeps_a_level_that_is_certain(text: str, level: str) -> None:
    collector, _ = log_of(text.encode())
    assert [(r.getMessage(), r.levelname) for r in collector.records] == [(text, level)]


def test_what_is_printed_is_shown_at_any_level_and_what_is_logged_from_the_levels_own() -> None:
    collector = Collector()
    collector.setLevel(logging.INFO)
    log = JobLog(collector, 42)
    for line in (
        b"DEBUG:root:printed",
        b'{"msg": "printed by a handler", "level": "DEBUG", "levelno": 10, "printed": true}',
        b'{"msg": "logged", "level": "DEBUG", "levelno": 10}',
    ):
        log.line(Line(line), 0)
    assert collector.messages == ["DEBUG:root:printed", "printed by a handler"]
    assert [record.levelname for record in collector.records] == ["DEBUG", "DEBUG"]
