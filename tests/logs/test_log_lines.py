"""Records as lines, and lines as texts."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from vsdk_trio._masking import hide
from vsdk_trio.telemetry.logs.lines import (
    MAX_EXCEPTION_CHARS,
    MAX_MESSAGE_CHARS,
    LogLine,
    as_console,
    as_json,
    read_line,
    rfc3339,
    severity,
)
from vsdk_trio.telemetry.logs.loggers import log_with_trace


def line(text: str = "m", *arguments: object, **values: object) -> LogLine:
    record = logging.makeLogRecord(
        {
            "name": "vsdk_trio.worker",
            "levelname": "WARNING",
            "levelno": 30,
            "msg": text,
            "args": arguments,
            "created": 1769860800.1239,
            "threadName": "MainThread",
            **values,
        }
    )
    hide("s3cret-value")
    return read_line(record)


def failure(text: str) -> object:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_json_has_stable_keys_in_a_stable_order() -> None:
    made = line(
        "job %s",
        "ended",
        other=[1, "x"],
        agent_id="a",
        job_id="j",
        room_id="r",
        filename="agent.py",
        lineno=12,
        threadName="Thread-1",
        exc_info=failure("broken"),
    )
    text = as_json(made)
    assert "\n" not in text
    value = json.loads(text)
    exception = value.pop("exception")
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: broken")
    assert list(value.items()) == [
        ("time", "2026-01-31T12:00:00.123Z"),
        ("level", "WARNING"),
        ("severity", "WARNING"),
        ("logger", "vsdk_trio.worker"),
        ("message", "job ended"),
        ("job_id", "j"),
        ("room_id", "r"),
        ("agent_id", "a"),
        ("file", "agent.py:12"),
        ("thread", "Thread-1"),
        ("other", [1, "x"]),
    ]


def test_a_field_cannot_take_the_place_of_a_key() -> None:
    value = json.loads(as_json(line(level="forged", time=0, exception="forged")))
    assert (value["level"], value["time"][:4]) == ("WARNING", "2026")


@pytest.mark.parametrize("created", [0.0, 1.0006, 1769860800.9999])
def test_time_is_rfc_3339_with_milliseconds(created: float) -> None:
    text = rfc3339(created)
    assert len(text) == 24
    assert text.endswith("Z")


def test_secrets_are_masked_wherever_they_are() -> None:
    made = line(
        "a %s b",
        "s3cret-value",
        extra={"x": ["s3cret-value"], "auth_token": "opaque"},
        exc_info=failure("s3cret-value"),
        stack_info="at s3cret-value",
    )
    for text in (as_json(made), as_console(made)):
        assert "s3cret-value" not in text
        assert "opaque" not in text
        assert text.count("***") >= 5


def test_long_texts_are_cut_where_it_hurts_least() -> None:
    made = line("begin" + "x" * 100_000, exc_info=failure("y" * 100_000 + "the end"))
    assert made.message.startswith("begin")
    assert len(made.message) <= MAX_MESSAGE_CHARS + 1
    assert made.exception.endswith("the end")
    assert len(made.exception) <= MAX_EXCEPTION_CHARS + 1
    straddling = line("x" * (MAX_MESSAGE_CHARS - 4) + "s3cret-value and more")
    assert straddling.message.endswith("x***…")


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_foreign_objects_cost_no_record() -> None:
    assert line("%d", "x").message == "%d (its arguments do not fit: TypeError)"
    try:
        raise Odd
    except Odd:
        assert "Odd" in line(exc_info=sys.exc_info(), odd=Odd()).exception


def test_a_console_line_has_fields_and_indents_the_rest() -> None:
    text = as_console(line("one\ntwo", job_id="j", extra={"a": 1}, exc_info=failure("broken")))
    first, second, *_, last = text.split("\n")
    assert first[12:] == ' WARNING worker: one job_id=j extra={"a": 1}'
    assert second == "    two"
    assert last == "    ValueError: broken"


def test_a_narrow_terminal_is_spared_what_it_has_no_room_for() -> None:
    made = line("text", job_id="0123456789", room_id="r")
    assert as_console(made, columns=60)[8:] == " W text job=01234567"
    assert as_console(line("text"), columns=60)[8:] == " W text"
    assert "room_id=r" in as_console(made, columns=200)


def test_colours_are_closed_again_and_only_where_asked_for() -> None:
    made = line("text", job_id="j")
    assert "\x1b" not in as_console(made)
    coloured = as_console(made, colours=True)
    assert "\x1b[33mWARNING\x1b[0m" in coloured
    assert coloured.endswith("\x1b[0m")


def test_what_a_job_prints_does_not_drive_the_terminal() -> None:
    assert "\x1b" not in as_console(line("\x1b[2J\x9b2J\r", job_id="\x1b]0;x\x07"))
    assert "\\x1b[2J\\x9b2J\\x0d" in as_console(line("\x1b[2J\x9b2J\r"))


def test_a_trace_that_is_a_text_is_shown_by_any_formatter() -> None:
    records: list[logging.LogRecord] = []
    logger = logging.Logger("x", logging.INFO)
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    log_with_trace(logger, logging.WARNING, "blocks for %g s", 5, trace="in f", extra={"pid": 7})
    log_with_trace(logger, logging.DEBUG, "not asked for", trace="")
    (record,) = records
    assert logging.Formatter("%(message)s %(pid)s").format(record) == "blocks for 5 s 7\nin f"
    assert read_line(record).exception == "in f"


@pytest.mark.parametrize(
    ("level", "name"),
    [(0, "DEBUG"), (10, "DEBUG"), (25, "INFO"), (39, "WARNING"), (99, "CRITICAL")],
)
def test_severity_is_a_standard_name(level: int, name: str) -> None:
    assert severity(level) == name
