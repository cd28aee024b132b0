"""Splits a byte stream into lines of bounded length.

Pure: bytes in, lines out, at most `max_line` bytes kept. Used for frames and for a job's stderr;
knows neither.
"""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """One line without its newline. A named tuple, because a flood of log lines makes many."""

    data: bytes
    truncated: bool = False
    """The line was longer than the bound; `data` is its beginning."""


class LineSplitter:
    """Takes chunks as they come and returns whole lines.

    Args:
        max_line: The longest line in bytes. A longer one is returned once, cut and marked, as soon
            as the bound is passed. The rest up to its newline is dropped, so memory stays bounded.
    """

    def __init__(self, max_line: int) -> None:
        if max_line < 1:
            raise ValueError("max_line must be at least 1")
        self._max_line = max_line
        self._partial = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes | bytearray) -> list[Line]:
        """Take the next chunk; return the lines that it completes, in order."""
        *complete, last = chunk.split(b"\n")
        lines: list[Line] = []
        for piece in complete:
            self._extend(piece, lines)
            if not self._skipping:
                lines.append(Line(bytes(self._partial)))
            self._partial.clear()
            self._skipping = False
        self._extend(last, lines)
        return lines

    def rest(self) -> list[Line]:
        """At the end of the stream: the last line, if it came without a newline."""
        lines = [Line(bytes(self._partial))] if self._partial else []
        self._partial.clear()
        self._skipping = False
        return lines

    def _extend(self, piece: bytes | bytearray, lines: list[Line]) -> None:
        if self._skipping:
            return
        room = self._max_line - len(self._partial)
        self._partial += piece[:room]
        if len(piece) > room:
            lines.append(Line(bytes(self._partial), truncated=True))
            self._partial.clear()
            self._skipping = True
