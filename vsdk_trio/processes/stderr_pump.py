"""Reads a job's stderr for ever: records, prints, warnings, C libraries, tracebacks, crashes.

Knows streams and lines; what a line means is the business of `JobLog`.
"""

from __future__ import annotations

from typing import Final

import trio

from ..control.ndjson import LineSplitter
from .job_log import REPORT_SECONDS, JobLog

MAX_LINE_BYTES: Final = 16 << 10
# Small enough that a flood does not hold up the event loop: a chunk of short lines takes 5 ms.
_CHUNK_BYTES: Final = 16 << 10
# A dump has no last line. It is written without a pause, so one after that long is another.
_STACKS_SECONDS: Final = 0.3


async def pump_stderr(stream: trio.abc.ReceiveStream, log: JobLog) -> None:
    """Read `stream` to its end into `log`; return at EOF, or where the stream breaks or closes.

    Cancelled, it still logs the unfinished last line and the count of what was dropped.
    """
    splitter = LineSplitter(MAX_LINE_BYTES)
    try:
        while True:
            chunk: bytes | bytearray | None = None
            with trio.move_on_after(_patience(log)):
                chunk = await stream.receive_some(_CHUNK_BYTES)
            now = trio.current_time()
            if chunk is None:  # nothing comes behind what has come
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


def _patience(log: JobLog) -> float:
    """How long to wait for more, before what has come is taken for all."""
    if log.is_in_stacks:
        return _STACKS_SECONDS
    return REPORT_SECONDS if log.owes_report else float("inf")
