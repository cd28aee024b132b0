"""The one place where the project's records leave the program.

The way out of `_loggers`, and no handler of `logging`, which others may remove, close or disable.
Reads a record, masks it, and passes it to a writer. Must not know formats or options.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, Final

from ..._masking import mask
from .consoles import is_console
from .lines import LogLine, read_line
from .writer import LineWriter, Sink

# How long the end of the program may wait for what is still to be written.
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
        """How many lines nobody has taken in time."""
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
        text = "%d lines of this log were dropped: nobody read them fast enough"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (count,), None)
        return self.render(read_line(record))


def _masked_record(record: logging.LogRecord, line: LogLine) -> logging.LogRecord:
    """A record for somebody else's handler that says no more than the line."""
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
