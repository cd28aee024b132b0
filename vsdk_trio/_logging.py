"""What `WorkerJob.start()` does about logging when the program has not done anything itself.

A leaf. Only our own logger is ever touched, never the root: an application's logging is its own.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

LOGGER_NAME: Final = "vsdk_trio"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class ConsoleFormatter(logging.Formatter):
    """One line per record: time, level, logger, message, then the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(
            f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD
        )
        when = self.formatTime(record, "%H:%M:%S") + f".{int(record.msecs):03d}"
        source = record.name.removeprefix(LOGGER_NAME + ".")
        text = f"{when} {record.levelname:<7} {source}: {record.getMessage()}{fields}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure_logging(level: str) -> None:
    """Set our logger's level; give it a handler on stderr where the program has none at all."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(ConsoleFormatter())
        logger.addHandler(handler)
