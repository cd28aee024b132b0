"""The one place where the project's records leave the program.

A handler: reads a record, masks it, and passes it to a writer, and to the handlers of the root that
are no consoles. Must not know formats or options.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

from .._masking import Masker
from .lines import LogLine, read_line
from .writer import LineWriter, Sink

# How long the end of the program may wait for what is still to be written.
FLUSH_SECONDS: Final = 2.0

Render = Callable[[LogLine], str]


class Outlet(logging.Handler):
    """Writes masked lines to `sink`; never waits for it, but at the end of the program.

    Arguments: `render`, how a line looks; `masker`, what must not be read in one.
    """

    def __init__(self, sink: Sink, render: Render, masker: Masker) -> None:
        super().__init__()
        self.render = render
        self.masker = masker
        self._writer = LineWriter(sink, self._note)
        self._is_stuck = False

    @property
    def dropped(self) -> int:
        """How many lines nobody has taken in time."""
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Mask and pass on one record."""
        line = read_line(record, self.masker)
        self._writer.put(self.render(line))
        for handler in logging.getLogger().handlers:
            if record.levelno >= handler.level and not _is_console(handler):
                handler.handle(_masked_record(record, line))

    def say(self, text: str) -> None:
        """Write a line that is no record, such as a program's last words; masked, too."""
        self._writer.put(self.masker.text(text))

    def flush(self) -> None:
        """Wait until all is written, for at most `FLUSH_SECONDS`; but once for a stuck reader."""
        self._is_stuck = not self._writer.flush(0.0 if self._is_stuck else FLUSH_SECONDS)

    def _note(self, count: int) -> str:
        text = "%d lines of this log were dropped: nobody read them fast enough"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (count,), None)
        return self.render(read_line(record, self.masker))


def _is_console(handler: logging.Handler) -> bool:
    """Whether it prints to the same terminal: then a record would be seen twice."""
    stream = getattr(handler, "stream", None)
    if stream is None:
        stream = getattr(getattr(handler, "console", None), "file", None)  # as rich has it
    return stream is not None and stream in (
        sys.stderr,
        sys.stdout,
        sys.__stderr__,
        sys.__stdout__,
    )


def _masked_record(record: logging.LogRecord, line: LogLine) -> logging.LogRecord:
    """A record for somebody else's handler that says no more than the line."""
    values: dict[str, Any] = {
        **vars(record),
        **line.fields,
        "msg": line.message,
        "args": None,
        "exc_info": None,
        "exc_text": line.exception or None,
        "stack_info": None,
    }
    return logging.makeLogRecord(values)
