"""Shortages of the machine: which error means which, and how often each is logged.

A leaf. A shortage costs what was being started, and nothing that runs. So each place that asks the
system for something catches `OSError`, says what it was doing, and goes on or tries again. What
this process is short of is noted in `SHORTAGES`, for the log and for `/health`.
"""

from __future__ import annotations

import errno
import math
import os
import time
from typing import Final

import attrs

from ..errors import Resource, ShortageError
from ..telemetry.logs.loggers import get_logger

logger = get_logger("vsdk_trio.shortages")

QUIET_SECONDS: Final = 60.0
"""How long a shortage that goes on is not mentioned again, and counts as present after its last
failure."""

_BY_ERRNO: Final = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOBUFS: Resource.MEMORY,
    errno.ENOSPC: Resource.DISK,
    errno.EDQUOT: Resource.DISK,
}
_WHAT_TO_RAISE: Final = {
    Resource.THREADS: "ulimit -u, pids.max of the container, or its memory",
    Resource.PROCESSES: "ulimit -u, or pids.max of the container",
    Resource.DESCRIPTORS: "ulimit -n (LimitNOFILE), or fs.file-max",
    Resource.MEMORY: "the memory limit, or take fewer jobs (max_processes)",
    Resource.DISK: "the size or the quota of the disk",
}
_NO_THREAD: Final = "can't start new thread"


def resource_of(error: BaseException, *, is_starting: bool = False) -> Resource | None:
    """Return the resource that was short; None if the error is no shortage.

    Args:
        error: What was raised.
        is_starting: A process was being started. EAGAIN then means that there may be no more;
            anywhere else it means that there is nothing to read yet.
    """
    match error:
        case ShortageError():
            return error.resource
        case MemoryError():
            return Resource.MEMORY
        case RuntimeError() if _NO_THREAD in str(error):
            return Resource.THREADS
        case OSError(errno=errno.EAGAIN):
            return Resource.PROCESSES if is_starting else None
        case OSError():
            return _BY_ERRNO.get(error.errno or 0)
        case ImportError():
            # A shared library that could not be opened: the loader tells it as a text only.
            texts = ((os.strerror(number), found) for number, found in _BY_ERRNO.items())
            return next((found for text, found in texts if text in str(error)), None)
    return None


def shortage_among(error: BaseException, doing: str) -> ShortageError | None:
    """Return the shortage behind an error, its causes, or the errors of a group, and note it.

    Args:
        error: What was raised, such as trio's error for several addresses.
        doing: What failed, as in "cannot <doing>".
    """
    waiting: list[BaseException] = [error]
    while waiting:
        raised = waiting.pop()
        if isinstance(raised, ShortageError):
            return raised
        if (resource := resource_of(raised)) is not None:
            return shortage(resource, doing, getattr(raised, "strerror", None) or raised)
        if isinstance(raised, BaseExceptionGroup):
            waiting += raised.exceptions
        if raised.__cause__ is not None:
            waiting.append(raised.__cause__)
    return None


def shortage(resource: Resource, doing: str, cause: object) -> ShortageError:
    """Return the error of a shortage: `doing` failed for lack of `resource`. Note it as well."""
    SHORTAGES.note(resource, doing, cause)
    return ShortageError(resource, _text(resource, doing, cause))


def _text(resource: Resource, doing: str, cause: object) -> str:
    return f"out of {resource}: cannot {doing} ({cause}); raise {_WHAT_TO_RAISE[resource]}"


@attrs.define
class _Kind:
    """The state of one kind of shortage."""

    text: str = ""
    failures: int = 0
    """Since it worked last."""
    unlogged: int = 0
    failed_at: float = 0.0
    logged_at: float = -math.inf
    is_logged: bool = False
    """Its end is logged if its beginning was."""


class Shortages:
    """What this process is short of. Each kind is at most two lines a minute in the log.

    One for the process, because limits are the process's: see `SHORTAGES`. For any thread.
    """

    def __init__(self) -> None:
        self._kinds: dict[Resource, _Kind] = {}

    def note(self, resource: Resource, doing: str, cause: object) -> None:
        """Something failed for lack of `resource`."""
        kind, now = self._kinds.setdefault(resource, _Kind()), time.monotonic()
        kind.text, kind.failed_at = _text(resource, doing, cause), now
        kind.failures += 1
        kind.unlogged += 1
        if now - kind.logged_at >= QUIET_SECONDS:
            times = f" ({kind.unlogged} times)" if kind.unlogged > 1 else ""
            kind.logged_at, kind.unlogged, kind.is_logged = now, 0, True
            logger.error("%s%s", kind.text, times)

    def over(self, *resources: Resource) -> None:
        """Something that needs these resources has just worked."""
        for resource in resources:
            kind = self._kinds.get(resource)
            if kind is not None and kind.failures:
                if kind.is_logged:
                    logger.warning("%s can be had again (%d failures)", resource, kind.failures)
                kind.failures, kind.is_logged = 0, False

    def current(self) -> list[str]:
        """Return the current shortages, as lines for a person."""
        now = time.monotonic()
        return [
            f"{kind.text} ({kind.failures} times, last {now - kind.failed_at:.0f} s ago)"
            for kind in self._kinds.values()
            if kind.failures and now - kind.failed_at < QUIET_SECONDS
        ]


SHORTAGES: Final = Shortages()
