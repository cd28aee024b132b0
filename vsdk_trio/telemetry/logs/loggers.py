"""Loggers of the project, which say what they have to say whatever is done to `logging`.

A leaf. The rule: where the program's log is ours to write (`start()`, the commands, a job process),
a record of ours depends on nothing of `logging` that others may change: not on its loggers being
enabled, on handlers, on the root's level or on `logging.disable`. It leaves by one `WayOut`, and
the handlers of others see it afterwards. Two wishes count, because they name us: a level and a
filter on one of our loggers. Neither silences an error.

Where there is no way out, the program has a log of its own. Our loggers are then like others,
except that `disable_existing_loggers`, which does not name them, does not disable them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeAlias

NAME: Final = "vsdk_trio"
STANDARD_FIELDS: Final = frozenset(
    # Not by `logging.makeLogRecord`, which calls a record factory that users may replace.
    (*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName")
)
"""What each record has; all else was added by those who logged it."""

Listener: TypeAlias = Callable[[logging.LogRecord], object]


class WayOut(Protocol):
    """How records of ours leave the program."""

    level: int
    """From which level on, where one of our loggers has not been given another one."""

    def say(self, record: logging.LogRecord) -> logging.LogRecord:
        """Write `record`; returns what the handlers of others may see of it. Never raises."""
        ...

    def prints(self, handler: logging.Handler) -> bool:
        """Whether `handler` would write a record to where it has been written already."""
        ...


_way_out: WayOut | None = None
_listeners: tuple[Listener, ...] = ()


def leave_by(way_out: WayOut) -> None:
    """Have all records of ours leave by `way_out` from now on."""
    global _way_out
    _way_out = way_out


def way_out() -> WayOut | None:
    """How records of ours leave; None where the program has a log of its own."""
    return _way_out


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with each record of ours during the body. It must not raise."""
    global _listeners
    _listeners = (*_listeners, listener)
    try:
        yield
    finally:
        _listeners = tuple(other for other in _listeners if other is not listener)


class ProjectLogger(logging.Logger):
    """A logger by the rule of this module. Made by `get_logger`."""

    @property
    def disabled(self) -> bool:
        """False, whatever it is set to."""
        return False

    @disabled.setter
    # `logging` declares an attribute, which pyright lets no property override.
    def disabled(self, value: bool) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride]

    def isEnabledFor(self, level: int) -> bool:
        """Whether a record of this level is logged."""
        if _way_out is None:
            return super().isEnabledFor(level)
        return level >= min(self._chosen_level(_way_out), max(_way_out.level, logging.ERROR))

    def _chosen_level(self, way_out: WayOut) -> int:
        logger: logging.Logger | None = self
        while isinstance(logger, ProjectLogger):
            if logger.level:
                return logger.level
            logger = logger.parent
        return way_out.level

    def makeRecord(
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        """A record with our fields, also where a record factory raises or has the same ones."""
        try:
            record = super().makeRecord(
                name, level, fn, lno, msg, args, exc_info, func, None, sinfo
            )
        except Exception:  # of a foreign factory
            record = logging.LogRecord(name, level, fn, lno, msg, args, exc_info, func, sinfo)
        vars(record).update(extra or {})
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Say `record`, then pass it on to the handlers of others."""
        passed = self._filtered(record)
        if passed is None:
            return
        for listener in _listeners:
            listener(passed)
        if _way_out is None:
            self.callHandlers(passed)
        else:
            self._pass_on(_way_out.say(passed), _way_out)

    def _filtered(self, record: logging.LogRecord) -> logging.LogRecord | None:
        try:
            result: object = self.filter(record)
        except Exception:  # of a foreign filter
            return record
        if isinstance(result, logging.LogRecord):  # as of Python 3.12
            return result
        return record if result or record.levelno >= logging.ERROR else None

    def _pass_on(self, record: logging.LogRecord, way_out: WayOut) -> None:
        handlers = [handler for handler in _handlers(self) if not way_out.prints(handler)]
        # Also where there are none: tools such as Sentry's replace `Logger.callHandlers`.
        relay = logging.Logger(record.name)
        relay.handlers = [_Guard(handler, way_out) for handler in handlers] or [_NOWHERE]
        try:
            relay.callHandlers(record)
        except Exception as error:  # of such a tool
            way_out.say(_complaint("a tool that watches the log", error))


_NOWHERE: Final = logging.NullHandler()


class _Guard(logging.Handler):
    """Keeps what a foreign handler raises from those who log. Of a kind, it is said once."""

    _known: Final[set[str]] = set()

    def __init__(self, handler: logging.Handler, way_out: WayOut) -> None:
        # Not `Handler.__init__`, which has `logging` know it.
        self.level = handler.level
        self._handler = handler
        self._way_out = way_out

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass on one record."""
        try:
            self._handler.handle(record)
        except Exception as error:
            name = type(self._handler).__qualname__
            if name not in self._known:
                self._known.add(name)
                self._way_out.say(_complaint(f"the log handler {name}", error))
        return True


def _complaint(culprit: str, error: Exception) -> logging.LogRecord:
    text = "%s raises %s: %s"
    values = (culprit, type(error).__name__, error)
    return logging.LogRecord(__name__, logging.WARNING, "", 0, text, values, None)


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


_made: Final[dict[str, logging.Logger]] = {}


def get_logger(name: str) -> logging.Logger:
    """The project's logger of that name, which `logging.getLogger` returns, too."""
    if (made := _made.get(name)) is not None:
        return made
    if issubclass(ProjectLogger, logging.Logger):
        logger = logging.getLogger(name)
        # It stays the same object: a program may have put handlers on it before we were imported.
        logger.__class__ = ProjectLogger
    else:  # `logging` was loaded anew, which knows loggers of its new class only
        logger = ProjectLogger(name)
    _made[name] = logger
    return logger


get_logger(NAME)  # or those below it would have a parent that is not one of ours


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
