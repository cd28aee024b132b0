"""A log record with a trace that is a text: of another process, or of another thread.

A leaf. The trace is where formatters expect a traceback, so any handler shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any


def log_with_trace(
    logger: logging.Logger,
    level: int,
    text: str,
    *arguments: object,
    trace: str,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Log `text % arguments` with `trace` below it, as `logger.log` does with a traceback."""
    if logger.isEnabledFor(level):
        record = logger.makeRecord(logger.name, level, "", 0, text, arguments, None, extra=extra)
        record.exc_text = trace or None
        logger.handle(record)
