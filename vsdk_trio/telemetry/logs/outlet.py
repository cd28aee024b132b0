"""The one place where the project's records leave the program: masked, and written by a thread.

A thread writes, so a slow reader of stderr delays no other code. The outlet is no handler of
`logging`, because other code may remove, close or disable handlers. It leaves the stream as it is:
a non-blocking stderr would be non-blocking for every process that shares it.
"""

from __future__ import annotations

import copy
import logging
import os
import select
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, TypeAlias

from ..._masking import mask
from ...system.threads import could_start
from .lines import LogLine, read_line

MAX_WAITING_CHARS: Final = 1 << 20
_BATCH_CHARS: Final = 32 << 10
# How often, while lines are waited for, it is tried to start the thread.
_RETRY_SECONDS: Final = 0.05

Sink: TypeAlias = Callable[[str], None]


def file_sink(fd: int) -> Sink:
    """A sink that writes to the file descriptor `fd`; raises `OSError` where that fails."""

    def write(text: str) -> None:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:  # another process that shares it made it non-blocking
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()

    return write


class LineWriter:
    """Lines on their way to `sink`, which may block, in a thread that starts with the first one.

    Arguments: `sink`, called with one or more whole lines; `note(count)`, the line that says that
    `count` lines were dropped; `max_waiting_chars`, what is kept for a reader that is slow. What
    does not fit, or cannot be written, is dropped and counted.
    """

    def __init__(
        self,
        sink: Sink,
        note: Callable[[int], str],
        *,
        max_waiting_chars: int = MAX_WAITING_CHARS,
    ) -> None:
        self._sink = sink
        self._note = note
        self._max_waiting_chars = max_waiting_chars
        self.dropped = 0
        """How many lines were not read in time."""
        self._begin()
        if hasattr(os, "register_at_fork"):
            reference: weakref.ref[LineWriter] = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _begin_anew(reference))

    def _begin(self) -> None:
        # In a forked child there is no thread, and no thread may ever release the lock.
        self._news = threading.Condition()
        # A number stands for so many dropped lines, at the place where they are missing.
        self._lines: deque[str | int] = deque()
        self._waiting_chars = 0
        self._unreported = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Have `line`, without its newline, written soon. Never waits for the sink."""
        with self._news:
            if self._waiting_chars + len(line) > self._max_waiting_chars:
                self.dropped += 1
                self._unreported += 1
                return
            self._tell_dropped()
            self._lines.append(line)
            self._waiting_chars += len(line) + 1
            if self._thread is None:
                self._start()
            elif not self._is_writing:
                self._news.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, for at most `seconds`; whether it is."""
        until = time.monotonic() + seconds
        with self._news:
            while self._lines or self._is_writing:
                remaining = until - time.monotonic()
                if self._thread is None and self._lines:
                    self._start()
                if remaining > 0:
                    self._news.wait(remaining if self._thread else min(remaining, _RETRY_SECONDS))
                elif self._thread is None:
                    self._write(self._take_batch())  # there is no other way left
                else:
                    return False
            return True

    def _start(self) -> None:
        """Start the thread; where there can be none, the lines wait for the next try."""
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        if could_start(thread):
            self._thread = thread

    def _tell_dropped(self) -> None:
        if self._unreported:
            self._lines.append(self._unreported)
            self._unreported = 0

    def _run(self) -> None:
        is_read = True
        while True:
            is_read = self._write(self._take(is_read))

    def _write(self, batch: list[str | int]) -> bool:
        """Write lines, or count them as dropped; whether they were written."""
        lines = [self._note(line) if isinstance(line, int) else line for line in batch]
        try:
            self._sink("\n".join(lines) + "\n")
        except (OSError, ValueError):  # a full disk, a reader that is gone, a closed stream
            texts = sum(isinstance(line, str) for line in batch)
            with self._news:
                self.dropped += texts
                self._unreported += texts + sum(n for n in batch if isinstance(n, int))
            return False
        return True

    def _take(self, is_read: bool) -> list[str | int]:
        """Wait for the next lines to write; `is_read`: whether the last ones could be written."""
        with self._news:
            self._is_writing = False
            if not self._lines and is_read:
                self._tell_dropped()  # nothing may ever come behind them
            self._news.notify_all()
            while not self._lines:
                self._news.wait()
            self._is_writing = True
            return self._take_batch()

    def _take_batch(self) -> list[str | int]:
        batch: list[str | int] = []
        chars = 0
        while self._lines and chars < _BATCH_CHARS:
            line = self._lines.popleft()
            chars += len(line) + 1 if isinstance(line, str) else 0
            batch.append(line)
        self._waiting_chars -= chars
        return batch


def _begin_anew(reference: weakref.ref[LineWriter]) -> None:
    if (writer := reference()) is not None:
        writer._begin()


_STANDARD_FDS: Final = (1, 2)


def is_console(handler: logging.Handler) -> bool:
    """Whether what `handler` gets appears on stderr or stdout."""
    stream = getattr(handler, "stream", None)
    if stream is None:
        stream = getattr(getattr(handler, "console", None), "file", None)  # as rich has it
    if stream is not None:
        return _is_standard(stream)
    return _feeds_loguru(handler)


def _is_standard(stream: Any) -> bool:
    if stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__):
        return True
    try:
        return stream.fileno() in _STANDARD_FDS
    except (OSError, AttributeError, ValueError):  # a stream in memory, or a closed one
        return False


def _feeds_loguru(handler: logging.Handler) -> bool:
    """Whether it is of the kind that loguru's documentation shows, and loguru prints.

    Such a handler hands a record to `loguru.logger`. Where that writes is in its `repr`.
    """
    logger = getattr(sys.modules.get("loguru"), "logger", None)
    if logger is None or not any(f"sink=<{name}>" in repr(logger) for name in ("stderr", "stdout")):
        return False
    emit = type(handler).emit
    if not isinstance(emit, FunctionType):
        return False
    return "loguru" in emit.__code__.co_names or any(
        value is logger for value in emit.__globals__.values()
    )


# How long the end of the program waits for unwritten lines, in seconds.
FLUSH_SECONDS: Final = 2.0

Render = Callable[[LogLine], str]


class Outlet:
    """Writes masked lines to `sink`; never waits for it, but at the end of the program.

    Arguments: `render`, how a line looks; `level`, from which one on there are lines.
    """

    def __init__(self, sink: Sink, render: Render, level: int) -> None:
        self.render = render
        self.level = level
        self._writer = LineWriter(sink, self._note)
        self._is_stuck = False

    @property
    def dropped(self) -> int:
        """How many lines were not read in time."""
        return self._writer.dropped

    def say(self, record: logging.LogRecord) -> logging.LogRecord:
        """Mask and write one record; returns a masked copy."""
        line = read_line(record)
        self._writer.put(self.render(line))
        return _masked_record(record, line)

    def prints(self, handler: logging.Handler) -> bool:
        """Whether `handler` writes to the same terminal: then a record would be seen twice."""
        return is_console(handler)

    def add(self, text: str) -> None:
        """Write a line that is no record, such as a program's last words; masked, too."""
        self._writer.put(mask(text))

    def flush(self) -> None:
        """Wait until all is written, for at most `FLUSH_SECONDS`; but once for a stuck reader."""
        self._is_stuck = not self._writer.flush(0.0 if self._is_stuck else FLUSH_SECONDS)

    def _note(self, count: int) -> str:
        text = "%d lines of this log were dropped: they were not read fast enough"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (count,), None)
        return self.render(read_line(record))


def _masked_record(record: logging.LogRecord, line: LogLine) -> logging.LogRecord:
    """A record for other handlers, with the masked texts of the line."""
    copied = copy.copy(record)
    values: dict[str, Any] = {
        **line.fields,
        "msg": line.message,
        "args": None,
        "exc_info": None,
        "exc_text": line.exception or None,
        "stack_info": None,
    }
    vars(copied).update(values)
    return copied
