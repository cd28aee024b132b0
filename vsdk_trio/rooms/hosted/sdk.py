"""The one module that knows what the VideoSDK SDK does not document: private parts, log, errors.

Importing this module does not import the SDK, which takes seconds. The SDK puts the job's token
into a URL that other libraries log, so every record is masked. The SDK gives the cause of a failure
only in its log, so the log is read.
"""

from __future__ import annotations

import ast
import gc
import importlib
import json
import logging
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from ..._masking import cut, mask
from ...errors import RoomError
from ...forkserver.before_fork import before_fork


@before_fork
def preload(process: object = None) -> None:
    """Import the SDK, in whatever thread this is called; takes a second or more, and 90 MiB.

    As `Options(initialize_process_fnc=preload)` it makes idle job processes wait with the SDK in
    memory; hence the argument, which is ignored. It starts no thread, so where job processes are
    forked it runs once for all of them, before, and they share the memory.

    Raises:
        RoomError: if the SDK is there and cannot be imported.
    """
    is_new = "videosdk" not in sys.modules
    try:
        importlib.import_module(f"{__package__}.call")
    except Exception as error:  # foreign code, and it may raise anything
        raise RoomError(
            f"Python {platform.python_version()} cannot import the package videosdk: "
            f"{cause_of(error)}; use another version of either (the one of Debian 12, 3.11.2, "
            "is known not to do)"
        ) from error
    if is_new:
        # The SDK collects garbage whenever a participant leaves. With all that it imports, that
        # stops every thread for 80 ms. The collector skips frozen objects.
        gc.freeze()


SUPPORTED = "videosdk>=0.4.1,<0.5"
"""The versions with the private parts below; `pyproject.toml` has the same bounds."""

# Errors that the SDK reports as a text only.
NO_VOICE = "Not Able to Enable Mic"
NOT_SENT = ("Not Able to Publish", "Not Able to Subscribe", "Operation timed out")

_CLIENT = "_Meeting__room_client"
_SOCKET = "_RoomClient__websocket"
_MEDIA = ("_RoomClient__send_transport", "_RoomClient__recv_transport")
_LEAVE = "async_leave"


class PrivateParts:
    """The private parts of an SDK meeting that a call needs: its socket, its media, its goodbye.

    The SDK has no public way to notice that a connection is lost, or to wait for a goodbye.

    Args:
        meeting: A `Meeting` of the SDK that has not joined yet.
        version: The SDK's version, for the error.

    Raises:
        RoomError: The SDK is of a version without these parts; the text says which to install.
    """

    def __init__(self, meeting: Any, version: str) -> None:
        self._client: Any = getattr(meeting, _CLIENT, None)
        for name in (_SOCKET, *_MEDIA, _LEAVE):
            if not hasattr(self._client, name):
                raise RoomError(
                    f"vsdk-trio cannot use videosdk {version}, which has no {name}: "
                    f"python -m pip install '{SUPPORTED}'"
                )

    @property
    def socket(self) -> Any:
        """The signaling socket, a connection of `websockets`; None before it is opened."""
        return getattr(self._client, _SOCKET)

    def has_lost_media(self) -> bool:
        """Whether a media connection has failed."""
        transports = (getattr(self._client, name) for name in _MEDIA)
        return any(t is not None and t.connectionState == "failed" for t in transports)

    async def leave(self) -> None:
        """Leave the meeting; returns when the SDK has said goodbye and closed its connections."""
        await getattr(self._client, _LEAVE)()


_MAX_CHARS = 500


def cause_of(error: BaseException) -> str:
    """What happened, in one line of at most 500 characters."""
    inner = getattr(error, "message", None)
    if isinstance(inner, BaseException):  # the SDK wraps what it caught
        return cause_of(inner)
    response = getattr(error, "response", None)
    if response is not None:
        return cut(_answer_of(response), _MAX_CHARS)
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if kind == "SSLError":
        text = (
            "its certificate is not trusted; for a service of your own, set the environment "
            f"variable REQUESTS_CA_BUNDLE to the file of its authority ({text})"
        )
    return cut(f"{kind}: {text}" if text else kind, _MAX_CHARS)


def _answer_of(response: Any) -> str:
    """An HTTP answer of requests (`reason`, `text`) or of websockets (`reason_phrase`, `body`)."""
    reason = getattr(response, "reason", None) or getattr(response, "reason_phrase", "")
    body = getattr(response, "body", None)
    text = response.text if body is None else bytes(body).decode("utf-8", "replace")
    return f"it answered {response.status_code} {reason}: {_message_in(text)}".rstrip(": ")


def _message_in(body: str) -> str:
    try:
        fields = json.loads(body)
    except ValueError:
        return " ".join(body.split())
    for name in ("message", "error", "statusText"):
        if isinstance(fields, dict) and isinstance(fields.get(name), str):
            return str(fields[name])
    return " ".join(body.split())


_PACKAGES = ("videosdk", "vsaiortc", "aioice", "websockets", "asyncio", "urllib3", "requests")
_MADE_LATER = ("websockets.client",)  # the others are there once the SDK is imported
_COMPLAINERS = _PACKAGES[:3]  # of all that closes
_SDK = "videosdk"
TELLS_CAUSES = "videosdk.room_client"
RESPONSE = "signal :: response message :: "


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
        elif text.startswith(RESPONSE) and "'ok': False" in text:
            self.refusal = _reason_of(text.removeprefix(RESPONSE)) or self.refusal

    def _is_news(self, record: logging.LogRecord) -> bool:
        if _is_chosen(record.name):  # a user wants to see it
            return record.levelno >= _detail.threshold(record.name)
        if record.levelno < logging.WARNING:
            return False
        return self.phase is Phase.STAYING or record.name.partition(".")[0] not in _COMPLAINERS

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Filter what the SDK and the libraries below it log, which must have been imported.

        They log from WARNING on, unless a level was set for them.
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
    """Whether the SDK logs in full detail; rooms in several threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self.level_before = logging.NOTSET

    def wanted(self) -> None:
        with self._lock:
            logger = logging.getLogger(TELLS_CAUSES)
            if not self._users:
                self.level_before = logger.level
            self._users += 1
            logger.setLevel(logging.DEBUG)

    def unwanted(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                logging.getLogger(TELLS_CAUSES).setLevel(self.level_before)

    def level(self, name: str) -> int:
        """The level that other code has set for this logger."""
        own = logging.getLogger(name).level
        return self.level_before if self._users and name == TELLS_CAUSES else own

    def threshold(self, name: str) -> int:
        """From which level on this logger speaks where a level was chosen for it."""
        return self.level(name) or logging.getLogger(name.partition(".")[0]).getEffectiveLevel()


_detail = _Detail()


def _is_chosen(name: str) -> bool:
    """Whether a level was set for this logger or its package."""
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
