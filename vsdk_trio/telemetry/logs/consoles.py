"""Whether a handler of somebody else's ends in the program's own stderr or stdout.

Knows the streams of handlers, of rich's consoles and of loguru's sinks. Must not know records.
"""

from __future__ import annotations

import logging
import sys
from types import FunctionType
from typing import Any, Final

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
