"""Notices when something blocks the worker's own event loop, and says which code it is.

The loop is what answers the registry and every job, and code of the user's runs in it: a
`load_fnc`, an async `request_fnc`. Who blocks it cannot be seen from inside; a thread looks. It
costs nothing while the worker is idle: the thread sleeps until the loop has something to do. Must
not know what the worker does.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

from ..errors import ShortageError
from ..system.threads import start_thread
from ..system.trio_internals import CORE_PATH
from ..telemetry.logs.loggers import get_logger, log_with_trace

logger = get_logger(__name__)

WARN_AFTER_SECONDS: Final = 1.0


class _Turns(trio.abc.Instrument):
    """Tells when the loop works; wakes the thread when it does after a long rest."""

    def __init__(self) -> None:
        self.began: float | None = None
        """When the loop began its turn, from the end of one waiting to the next; None: it waits."""
        self.reported: float | None = None
        """The beginning of the turn that the thread has warned of."""
        self.resting = False
        """The thread sleeps until `wake`."""
        self.wake = threading.Event()

    def after_io_wait(self, timeout: float) -> None:
        """Called by Trio."""
        self.began = time.monotonic()
        if self.resting:
            self.resting = False
            self.wake.set()

    def before_io_wait(self, timeout: float) -> None:
        """Called by Trio."""
        began, self.began = self.began, None
        if began is not None and began == self.reported:
            text = "the worker's event loop goes on; it was blocked for %.1f s"
            logger.warning(text, time.monotonic() - began)


@contextmanager
def watched_loop(*, warn_after: float = WARN_AFTER_SECONDS) -> Iterator[None]:
    """During the body, warn of whatever keeps the calling task's loop busy for `warn_after` s."""
    turns = _Turns()
    over = threading.Event()
    thread = threading.Thread(
        target=_watch,
        args=(turns, threading.get_ident(), warn_after, over),
        name="loop watch",
        daemon=True,  # it must not keep a program alive that ends by an exception
    )
    try:
        start_thread(thread)
    except ShortageError as error:
        logger.warning("nothing watches for what blocks the event loop: %s", error)
        yield
        return
    trio.lowlevel.add_instrument(turns)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(turns)
        over.set()
        turns.wake.set()


def _watch(turns: _Turns, thread_id: int, warn_after: float, over: threading.Event) -> None:
    while not over.is_set():
        began, looked_at = turns.began, time.monotonic()
        if over.wait(warn_after):
            return
        if began is None and turns.began is None:
            _rest(turns)
            continue
        if began is None or turns.began != began or turns.reported == began:
            continue
        # Where this thread was not woken in time either, the whole process was held up.
        if time.monotonic() - looked_at < 2 * warn_after:
            turns.reported = began
            _report(began, sys._current_frames().get(thread_id))


def _rest(turns: _Turns) -> None:
    """Sleep until the loop has something to do."""
    turns.wake.clear()
    turns.resting = True
    if turns.began is None:  # else it has begun before it could know that it must wake somebody
        turns.wake.wait()


def _report(began: float, frame: FrameType | None) -> None:
    lines = traceback.format_stack(frame) if frame is not None else []
    text = "something blocks the worker's event loop for %.1f s; neither jobs nor the registry"
    text += " are answered meanwhile"
    log_with_trace(logger, logging.WARNING, text, time.monotonic() - began, trace=_culprit(lines))


def _culprit(lines: list[str]) -> str:
    """The stack from where trio runs the task on: what is above it is the same for all tasks."""
    plumbing = [n for n, line in enumerate(lines) if re.search(CORE_PATH, line)]
    return "".join(lines[plumbing[-1] + 1 :] if plumbing else lines).rstrip()
