"""Lines reach a slow reader late or not at all, and hold nobody up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from vsdk_trio.telemetry.logs.outlet import LineWriter, Sink, file_sink

PATIENCE_SECONDS = 10.0


class Reader:
    """A sink that can be held up, and can refuse."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_held_up = threading.Event()
        self.error: Exception | None = None

    def __call__(self, text: str) -> None:
        self.is_held_up.set()
        self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        self.texts.append(text)

    @property
    def lines(self) -> list[str]:
        return "".join(self.texts).splitlines()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.may_go_on.set()


def writer(sink: Sink, max_chars: int = 1000) -> LineWriter:
    return LineWriter(sink, lambda count: f"{count} dropped", max_waiting_chars=max_chars)


def test_lines_come_out_in_order(reader: Reader) -> None:
    threads = threading.active_count()
    log = writer(reader, 1 << 20)
    assert threading.active_count() == threads  # it starts with the first line
    for number in range(1000):
        log.put(str(number))
    assert log.flush(PATIENCE_SECONDS)
    assert reader.lines == [str(number) for number in range(1000)]
    assert log.dropped == 0


def test_nobody_waits_for_a_reader_that_does_not_read(reader: Reader) -> None:
    reader.may_go_on.clear()
    log = writer(reader)
    log.put("first")
    assert reader.is_held_up.wait(PATIENCE_SECONDS)
    for _ in range(500):
        log.put("0123456789")
    assert log.dropped > 400
    dropped = log.dropped
    assert not log.flush(0.01)
    reader.may_go_on.set()
    assert log.flush(PATIENCE_SECONDS)
    log.put("again")
    assert log.flush(PATIENCE_SECONDS)
    assert reader.lines[0] == "first"
    assert reader.lines[-2:] == [f"{dropped} dropped", "again"]
    assert reader.lines.count("0123456789") == 500 - dropped


def test_what_cannot_be_written_is_counted_and_said_later(reader: Reader) -> None:
    log = writer(reader)
    reader.error = OSError("disk full")
    log.put("lost")
    assert log.flush(PATIENCE_SECONDS)
    log.put("lost too")
    assert log.flush(PATIENCE_SECONDS)
    assert log.dropped == 2
    reader.error = None
    log.put("written")
    assert log.flush(PATIENCE_SECONDS)
    # The note of the first went down with the second.
    assert reader.lines == ["2 dropped", "written"]


def test_a_pipe_that_nobody_reads_and_one_made_non_blocking() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)  # by somebody else who has it
    try:
        log = writer(file_sink(write), 1 << 20)
        text = "x" * 1000
        for _ in range(200):  # more than a pipe holds
            log.put(text)
        assert not log.flush(0.1)
        got = b""
        while got.count(b"\n") < 200:
            got += os.read(read, 1 << 16)
        assert log.flush(PATIENCE_SECONDS)
        assert got == (text.encode() + b"\n") * 200
    finally:
        os.close(read)
        os.close(write)


def test_a_line_of_no_unicode_is_written(tmp_path: object) -> None:
    read, write = os.pipe()
    file_sink(write)("half \udc80\n")
    assert os.read(read, 100) == b"half \\udc80\n"
    os.close(read)
    os.close(write)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking is the point
def test_a_forked_child_writes_with_a_thread_of_its_own() -> None:
    read, write = os.pipe()
    log = writer(file_sink(write))
    log.put("parent")
    assert log.flush(PATIENCE_SECONDS)
    with log._news:  # at the worst moment
        child = os.fork()
        if child == 0:
            log.put("child")
            os._exit(0 if log.flush(PATIENCE_SECONDS) else 1)
    until = time.monotonic() + PATIENCE_SECONDS
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    assert ended == (child, 0)
    assert os.read(read, 100) == b"parent\nchild\n"
    os.close(read)
    os.close(write)
