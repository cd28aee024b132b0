"""How a job ended, and its error as one text of bounded length.

Knows exceptions and the three words for an end; knows neither frames nor rooms nor the registry.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import traceback
from types import TracebackType
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import trio

from .._exceptions import leaves, unwrapped
from .._masking import cut
from ..system.import_hints import explained

Status: TypeAlias = Literal["completed", "failed", "cancelled"]

_E = TypeVar("_E", bound=BaseException)

MAX_ERROR_CHARS = 2000
_MAX_MESSAGE_CHARS = 1000
_ASYNCIO_HINT = "an entrypoint that needs asyncio is marked with @vsdk_trio.aio.entrypoint"
_AWAIT_HINT = "the entrypoint runs in an event loop already; await the coroutine instead"
_SIGNAL_HINT = (
    "call it as signal.signal(...), or loop.add_signal_handler(...); what is to run when the job "
    "ends is for ctx.add_shutdown_callback(...)"
)
# Texts of Python's libraries, and what to do about them.
_HINTS = {
    # asyncio, where no loop of its runs, and Trio of what belongs to asyncio.
    "no running event loop": _ASYNCIO_HINT,
    "no current event loop": _ASYNCIO_HINT,
    "should be used inside a task": _ASYNCIO_HINT,
    "library written for asyncio": _ASYNCIO_HINT,
    # Both, where a loop of theirs runs.
    "cannot be called from a running event loop": _AWAIT_HINT,
    "event loop is already running": _AWAIT_HINT,
    "call run() from inside a run()": _AWAIT_HINT,
    # In any other thread; `runner.aio.job` has replaced the function by then.
    "signal only works in main thread": _SIGNAL_HINT,
}
_MAX_LISTED_ERRORS = 5
# Frames between our first line and the agent's own, when its code is loaded or called.
_AROUND: Final = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    contextlib.__file__,
    importlib.__file__,
    "<frozen importlib",
)


@attrs.frozen(kw_only=True)
class Outcome:
    """How a job ended. If it failed, `exception` is its exception, with the traceback."""

    status: Status
    error: str | None = None
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)


def failure(exception: BaseException) -> Outcome:
    """Return the outcome of a job that raised `exception`; a `sys.exit(0)` is no failure."""
    errors = [leaf for leaf in leaves(exception) if not _is_clean_exit(leaf)]
    if not errors:
        return Outcome(status="completed")
    lines = [_describe_leaf(error) for error in errors[:_MAX_LISTED_ERRORS]]
    if len(errors) > _MAX_LISTED_ERRORS:
        lines.append(f"and {len(errors) - _MAX_LISTED_ERRORS} more")
    text = lines[0] if len(errors) == 1 else f"{len(errors)} errors: " + "; ".join(lines)
    # A path may hold what is no Unicode; the text has to travel as JSON, to strict readers.
    text = text.encode("utf-8", "backslashreplace").decode()
    return Outcome(
        status="failed", error=cut(text, MAX_ERROR_CHARS), exception=unwrapped(exception)
    )


def describe_error(exception: BaseException) -> str:
    """Return one bounded text for `exception`: type, message, and where it was raised."""
    return failure(exception).error or "sys.exit(0)"


def without_cancelled(exception: BaseException) -> BaseException | None:
    """Return `exception` without Trio's cancellation; None if it was nothing else."""
    if isinstance(exception, BaseExceptionGroup):
        return exception.split(trio.Cancelled)[1]
    return None if isinstance(exception, trio.Cancelled) else exception


def from_the_agent_on(error: _E) -> _E:
    """Return `error` with a traceback that begins in the agent's code."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_AROUND):
        frames = frames.tb_next
    return error.with_traceback(frames)


def hint_for(error: BaseException) -> str | None:
    """Return what to do about an error whose own text does not say it; None if unknown."""
    if isinstance(error, (RuntimeError, TypeError, ValueError)):
        text = _text_of(error)
        return next((hint for words, hint in _HINTS.items() if words in text), None)
    return explained(error) if isinstance(error, (ImportError, AttributeError)) else None


def _is_clean_exit(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _describe_leaf(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        text = f"sys.exit({_text_of(error.code)})"
    else:
        message = _text_of(error)
        if (hint := hint_for(error)) is not None:
            message = f"{message}; {hint}"
        text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text + _place_of(error)


def _text_of(value: object) -> str:
    """Return `str(value)`, masked, then cut. The `__str__` of an exception may itself raise."""
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except Exception as broken:
        text = f"<its text raises {type(broken).__name__}>"
    return cut(text, _MAX_MESSAGE_CHARS + 1)


def _place_of(error: BaseException) -> str:
    """Where it was raised, as ` (file.py:12 in function)`."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return ""
    frame, line = frames[-1]
    file_name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f" ({file_name}:{line} in {frame.f_code.co_qualname})"
