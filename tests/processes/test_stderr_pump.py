from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from vsdk_trio.control.ndjson import Line
from vsdk_trio.processes.exit import Exit, with_last_words
from vsdk_trio.processes.job_log import MAX_LINE_BYTES, TAIL_LINES, JobLog, pump_stderr
from vsdk_trio.processes.stop_ladder import Rung


class Collector(logging.Logger):
    """A logger that keeps its records."""

    def __init__(self) -> None:
        super().__init__("test", logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


async def _pump(text: bytes) -> tuple[Collector, JobLog]:
    collector = Collector()
    log = JobLog(collector, 42)
    far, near = trio.testing.memory_stream_one_way_pair()
    await far.send_all(text)
    far.close()
    await pump_stderr(near, log)
    return collector, log


async def test_records_of_the_runner_keep_level_source_and_traceback() -> None:
    record: dict[str, object] = {
        "msg": "careful",
        "level": "WARNING",
        "logger": "agent",
        "exc": "Traceback ...",
    }
    record |= {"extra": {"msg": "theirs", "job_id": "forged"}}
    collector, log = await _pump(json.dumps(record).encode() + b"\n")
    assert collector.messages == ["careful"]
    assert collector.records[0].exc_text == "Traceback ..."
    assert collector.records[0].levelno == logging.WARNING
    assert collector.records[0].__dict__["source"] == "agent"
    assert collector.records[0].__dict__["pid"] == 42
    assert collector.records[0].__dict__["extra"] == {"msg": "theirs", "job_id": "forged"}
    assert log.tail == ("careful\nTraceback ...",)


@pytest.mark.parametrize(
    "line",
    [
        b"a print",
        b"{not json",
        b'{"no": "msg"}',
        b'{"msg": 3}',
        b"{" * 10_000,
        b'{"msg": "x", "level": ["odd"]}',
        b"100 % of %s",
    ],
)
async def test_anything_else_is_a_line_of_info(line: bytes) -> None:
    collector, _ = await _pump(line + b"\n")
    assert collector.records[0].levelno == logging.INFO
    assert len(collector.messages) == 1


async def test_bytes_that_are_no_text_long_lines_and_the_unfinished_last_one() -> None:
    collector, _ = await _pump(b"\xff\xfe\r\n" + b"x" * 200_000 + b"\nno newline at the end")
    assert collector.messages == ["\\xff\\xfe", "x" * MAX_LINE_BYTES, "no newline at the end"]
    assert collector.records[1].__dict__["truncated"] is True


async def test_a_line_carries_its_job_from_when_it_has_one() -> None:
    collector = Collector()
    log = JobLog(collector, 42)
    log.line(Line(b"before"), 0)
    log.bind({"job_id": "j-1"})
    log.line(Line(b"after"), 0)
    assert [record.__dict__.get("job_id") for record in collector.records] == [None, "j-1"]


async def test_what_comes_too_fast_is_counted_and_reported_when_there_is_room_again() -> None:
    collector = Collector()
    log = JobLog(collector, 42)
    for number in range(5000):
        log.line(Line(b"%d" % number), 0)
    assert len(collector.messages) == 2000
    assert log.dropped_lines == 3000
    assert log.tail[-1] == "4999"
    assert len(log.tail) == TAIL_LINES
    log.line(Line(b"later"), 1)
    assert collector.messages[-2:] == ["3000 lines came too fast and were dropped", "later"]
    log.report_dropped()
    assert collector.messages[-1] == "later"


async def test_a_stream_that_breaks_or_is_closed_ends_the_pump() -> None:
    collector = Collector()
    _, near = trio.testing.memory_stream_one_way_pair()
    near.close()
    await pump_stderr(near, JobLog(collector, 42))
    assert collector.records == []


def test_a_long_tail_is_cut_at_its_beginning() -> None:
    text = with_last_words("it failed", ("a" * 3000, "KeyError: 'b'"))
    assert len(text) == 2000
    assert text.startswith("it failed; stderr: ...a")
    assert text.endswith("KeyError: 'b'")
    assert len(with_last_words("c" * 3000, ("d",))) == 2000
    assert with_last_words("it failed", ("", " ")) == "it failed"


@pytest.mark.parametrize(
    ("returncode", "rung", "text"),
    [
        (3, None, "the job process exited with code 3"),
        (-9, None, "the job process was killed by SIGKILL (out of memory?)"),
        (-6, None, "the job process was killed by SIGABRT"),
        (-15, Rung.SIGTERM, "the job process was killed by SIGTERM"),
        (-99, None, "the job process was killed by signal 99"),
        (-9, Rung.SIGKILL, "the job process did not stop when asked and was killed"),
    ],
)
def test_an_exit_describes_itself(returncode: int, rung: Rung | None, text: str) -> None:
    ended = Exit(returncode=returncode, stop_reason=None, rung=rung, stderr_tail=())
    assert ended.describe() == text
