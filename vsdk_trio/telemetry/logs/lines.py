"""One record as a value that may leave the program: every text in it is masked and bounded.

Knows records and texts. Must not know how a line is written, or where it goes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import attrs

from ..._masking import cut, mask, mask_value
from .loggers import STANDARD_FIELDS

MAX_MESSAGE_CHARS: Final = 16 << 10
MAX_EXCEPTION_CHARS: Final = 32 << 10
_TRACEBACKS: Final = logging.Formatter()


@attrs.frozen(kw_only=True)
class LogLine:
    """What one record says."""

    created: float
    """Seconds since the epoch, of when it was logged first: in the job process, if it came so."""
    level: int
    level_name: str
    logger: str
    """The logger's name, in a job process if the record came from there."""
    message: str
    exception: str = ""
    """The traceback, or the stack that belongs to the record; may have many lines."""
    file: str = ""
    """Where it was logged: `agent.py:12`."""
    thread: str = ""
    """The thread's name, where it is not the main one."""
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    """Everything else: `job_id`, `room_id`, `agent_id`, ...; as JSON has it."""


def read_line(record: logging.LogRecord) -> LogLine:
    """What `record` says, masked. Never raises, whatever is in the record."""
    extra = {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}
    source = extra.pop("source", None)
    return LogLine(
        created=record.created,
        level=record.levelno,
        level_name=record.levelname,
        logger=mask(source if isinstance(source, str) else str(record.name)),
        message=cut(_message(record), MAX_MESSAGE_CHARS),
        # The end of a traceback says more than its beginning.
        exception=cut(_exception(record), MAX_EXCEPTION_CHARS, keep_end=True),
        file=f"{record.filename}:{record.lineno}" if record.lineno else "",
        thread=_thread(record),
        fields=mask_value(extra) if extra else {},
    )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # foreign arguments: the record must not get lost for them
        return f"{record.msg} (its arguments do not fit: {type(error).__name__})"


def _exception(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        try:
            text = _TRACEBACKS.formatException(record.exc_info)
        except Exception as error:  # of foreign exceptions
            text = f"{record.exc_info[0].__name__} (its text raises {type(error).__name__})"
    else:
        text = record.exc_text or ""
    return "\n".join(filter(None, (text, record.stack_info)))


def _thread(record: logging.LogRecord) -> str:
    name = record.threadName or ""
    return "" if name == "MainThread" else mask(name)
