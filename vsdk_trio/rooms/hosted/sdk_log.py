"""The SDK's log: what must not be in it, what is no news, and what went wrong.

The SDK puts the job's token into a URL, which other libraries log, and tells the cause of a failure
to nobody but its log. Knows logging. Must not know the SDK otherwise, nor rooms.
"""

from __future__ import annotations

import ast
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from ..._masking import mask

_PACKAGES = ("videosdk", "vsaiortc", "aioice", "websockets", "asyncio", "urllib3", "requests")
_MADE_LATER = ("websockets.client",)  # the others are there once the SDK is imported
_COMPLAINERS = _PACKAGES[:3]  # of all that closes
_SDK = "videosdk"
_TELLS_CAUSES = "videosdk.room_client"
_RESPONSE = "signal :: response message :: "


class Phase(Enum):
    """What the SDK is doing."""

    JOINING = "joining"
    """Its errors become ours; it need not say them as well."""
    STAYING = "staying"
    LEAVING = "leaving"
    """It complains of all that closes."""


class SdkLog(logging.Filter):
    """Masks every record of the SDK and of what is below it.

    Of records that come from the SDK's own thread, `thread`, it takes note, and drops what is no
    news: other rooms may be open in the same process. `error` is the exception that made joining
    fail, `refusal` what the service last refused, and `last_error` the last error that the SDK
    logged; None or empty where there is none.
    """

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread
        self.phase = Phase.JOINING
        self.error: BaseException | None = None
        self.refusal = ""
        self.last_error = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record, take note of it, and say whether it is news."""
        text = mask(_text_of(record))
        is_own = record.thread == self._thread
        if is_own and record.name.startswith(_SDK):
            self._take_note(record, text)
        record.msg, record.args = text, None
        if record.exc_info and not record.exc_text:
            record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
        return not is_own or self._is_news(record)

    def _take_note(self, record: logging.LogRecord, text: str) -> None:
        if record.levelno >= logging.ERROR:
            self.last_error = text
        args = record.args
        if isinstance(args, tuple) and args and isinstance(args[0], BaseException):
            self.error = args[0]
        elif text.startswith(_RESPONSE) and "'ok': False" in text:
            self.refusal = _reason_of(text.removeprefix(_RESPONSE)) or self.refusal

    def _is_news(self, record: logging.LogRecord) -> bool:
        if _is_chosen(record.name):  # by somebody who wants to know
            return record.levelno >= _detail.threshold(record.name)
        if record.levelno < logging.WARNING:
            return False
        return self.phase is Phase.STAYING or record.name.partition(".")[0] not in _COMPLAINERS

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Filter what the SDK and the libraries below it log, which must have been imported.

        They speak from WARNING on, unless somebody has chosen a level for them.
        """
        known = list(logging.root.manager.loggerDict)
        names = {name for name in known if name.partition(".")[0] in _PACKAGES}
        loggers = [logging.getLogger(name) for name in sorted(names.union(_PACKAGES, _MADE_LATER))]
        for logger in loggers:
            logger.addFilter(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(self)

    @contextmanager
    def finding_causes(self) -> Iterator[None]:
        """Have the SDK say all it knows, to this filter only."""
        _detail.wanted()
        try:
            yield
        finally:
            _detail.unwanted()


class _Detail:
    """Whether somebody wants the SDK to log all it knows; from several threads, perhaps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self.level_before = logging.NOTSET

    def wanted(self) -> None:
        with self._lock:
            logger = logging.getLogger(_TELLS_CAUSES)
            if not self._users:
                self.level_before = logger.level
            self._users += 1
            logger.setLevel(logging.DEBUG)

    def unwanted(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                logging.getLogger(_TELLS_CAUSES).setLevel(self.level_before)

    def level(self, name: str) -> int:
        """The level that somebody else has set for this logger."""
        own = logging.getLogger(name).level
        return self.level_before if self._users and name == _TELLS_CAUSES else own

    def threshold(self, name: str) -> int:
        """From which level on this logger speaks where a level was chosen for it."""
        return self.level(name) or logging.getLogger(name.partition(".")[0]).getEffectiveLevel()


_detail = _Detail()


def _is_chosen(name: str) -> bool:
    """Whether somebody has set a level for this logger, or for the package that it is of."""
    return bool(_detail.level(name) or logging.getLogger(name.partition(".")[0]).level)


def _text_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the SDK logs arguments that it has no place for
        return f"{record.msg}: {record.args}"


def _reason_of(response: str) -> str:
    """What a response of the signaling gives as the reason for a no."""
    try:
        fields = ast.literal_eval(response)
    except (ValueError, SyntaxError):
        return ""
    return f"{fields.get('errorReason') or 'refused'} ({fields.get('errorCode', 'no code')})"
