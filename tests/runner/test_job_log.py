"""Records as lines that the worker can read, whatever is in them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from vsdk_trio._masking import hide
from vsdk_trio.runner.job_log import MAX_LINE_BYTES, RunnerLog, encode_record


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(fd)


def record(text: str = "m", *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": text, "args": arguments, "levelname": "INFO", **extra})
    made.name = "n"
    return made


def encode(made: logging.LogRecord) -> bytes:
    return encode_record(made)


def test_a_record_is_one_line() -> None:
    line = encode(record("two\nlines %s", "ü", job="j", odd={1, 2}.__class__))
    assert line.count(b"\n") == 1
    value = json.loads(line)
    assert value["msg"] == "two\nlines ü"
    assert (value["level"], value["logger"]) == ("INFO", "n")
    assert value["extra"] == {"job": "j", "odd": "<class 'set'>"}
    assert "exc" not in value


def test_a_traceback_is_in_it() -> None:
    try:
        raise ValueError("tok-123456")
    except ValueError:
        made = record("failed", exc_info=sys.exc_info())
    hide("tok-123456")
    value = json.loads(encode_record(made))
    assert value["exc"].endswith("ValueError: ***")
    assert "exc" not in json.loads(encode(record(exc_info=(None, None, None))))


@pytest.mark.parametrize("filler", ["x", "ü", "\x00", "\U0001f600", "\udc80"])
def test_a_line_is_never_too_long(filler: str) -> None:
    try:
        raise ValueError(filler * 30_000 + "the end")
    except ValueError:
        made = record(filler * 30_000, exc_info=sys.exc_info(), more=filler * 30_000)
    line = encode(made)
    assert len(line) <= MAX_LINE_BYTES
    value = json.loads(line)
    assert value["truncated"] is True
    assert value["msg"].startswith(filler)
    assert value["exc"].endswith("the end")
    short = json.loads(encode(record("short", more=filler * 30_000)))
    assert (short["msg"], "extra" in short, "exc" in short) == ("short", False, False)


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no")


CYCLE: dict[str, object] = {}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    ("odd", "readable"),
    [({(1, 2): 3}, {"(1, 2)": 3}), (Unprintable(), "<Unprintable: its text raises ValueError>")],
)
def test_fields_that_have_no_json_do_not_cost_the_message(odd: object, readable: object) -> None:
    value = json.loads(encode(record("the message", odd=odd)))
    assert (value["msg"], value["extra"]) == ("the message", {"odd": readable})


def test_a_field_that_holds_itself_is_cut() -> None:
    assert json.loads(encode(record("the message", odd=CYCLE)))["msg"] == "the message"


def test_hidden_secrets_are_masked(pipe: tuple[int, int]) -> None:
    log = RunnerLog(pipe[1])
    hide("tok-123456")
    log.say(record("a tok-123456", more=["tok-123456"]))
    value = json.loads(os.read(pipe[0], 1 << 16))
    assert (value["msg"], value["extra"]) == ("a ***", {"more": ["***"]})


def test_a_record_is_said_once_and_from_the_level_on(pipe: tuple[int, int]) -> None:
    log = RunnerLog(pipe[1], logging.WARNING)
    low, high = record("low", levelno=logging.INFO), record("high", levelno=logging.ERROR)
    for made in (low, high, high):
        log.offer(made)
    log.say(low)
    lines = os.read(pipe[0], 1 << 16).splitlines()
    assert [json.loads(line)["msg"] for line in lines] == ["high", "low"]


def test_a_reader_that_is_gone_fails_nothing(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    RunnerLog(pipe[1]).say(record())


def test_arguments_that_do_not_fit_do_not_cost_the_record() -> None:
    value = json.loads(encode(record("%d calls", "x")))
    assert value["msg"].startswith("'%d calls' (its arguments do not fit: TypeError")
    assert "extra" not in value


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_exception_without_a_text_does_not_cost_the_record() -> None:
    made = record("failed", exc_info=(None, Untellable(), None))
    assert json.loads(encode(made))["msg"] == "failed"


def test_the_dictionary_of_a_structured_log_is_its_event_and_its_fields() -> None:
    made = record()
    try:
        raise ValueError("boom")
    except ValueError as error:
        made.msg = {"event": "said", "call": 7, "_from": "x", "exc_info": error}  # type: ignore[assignment]  # as structlog does
    value = json.loads(encode(made))
    assert (value["msg"], value["extra"]) == ("said", {"call": 7})
    assert value["exc"].endswith("ValueError: boom")
