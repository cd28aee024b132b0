"""SIGTERM, SIGINT and SIGHUP have no effect in a job process while its worker lives.

Supervisors send signals to the whole process tree. Such a signal must end no call and no idle
process. Only the standard library is used, because this runs before anything else is imported.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_USUAL = (signal.SIG_DFL, signal.default_int_handler)


class _Handler:
    """One for the whole process, as signal handlers are; a fork takes it over."""

    def __init__(self) -> None:
        self.pid = 0
        self.channel = -1
        self.before: dict[int, Any] = {}
        self.listeners: list[Callable[[int], object]] = []

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:
            # A process that the agent has forked: multiprocessing ends those by SIGTERM.
            _take_usual_effect(signum, self.before[signum], frame)
        elif self.listeners:
            for listener in self.listeners:
                listener(signum)
        elif _is_hung_up(self.channel):
            _take_usual_effect(signum, signal.SIG_DFL, frame)


_HANDLER = _Handler()


def ignore_while_the_worker_lives(channel: int) -> None:
    """Give signals their usual effect only after the worker has closed the channel.

    The worker closes it before it sends SIGTERM. This installs a handler, and not `SIG_IGN`, which
    programs that the agent starts would inherit. A signal that is ignored stays ignored, as under
    `nohup`, and a handler of the agent stays as well. Call it again for another channel, and in a
    fork of this process.

    Args:
        channel: The descriptor that the worker closes.
    """
    _HANDLER.pid, _HANDLER.channel = os.getpid(), channel
    for signum in _SIGNALS:
        if (before := signal.getsignal(signum)) in _USUAL:
            _HANDLER.before[signum] = before
            signal.signal(signum, _HANDLER)


def let_signals_in() -> None:
    """Unblock the signals that a worker blocks in what it starts, now that there are handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextmanager
def listening_to_signals(listener: Callable[[int], object]) -> Iterator[None]:
    """During the body a signal only calls `listener`, in the main thread."""
    _HANDLER.listeners.append(listener)
    try:
        yield
    finally:
        _HANDLER.listeners.remove(listener)


def _is_hung_up(channel: int) -> bool:
    poll = select.poll()
    poll.register(channel, 0)  # POLLHUP is always looked for
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _take_usual_effect(signum: int, handler: Any, frame: FrameType | None) -> None:
    signal.signal(signum, handler)
    if callable(handler):
        handler(signum, frame)
    else:
        signal.raise_signal(signum)
