"""Which signals ask a program of ours to end, and SIGINT before anybody listens to it.

A leaf: the standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP, which comes when the terminal is closed.

    SIGHUP is left alone where it is ignored: so `nohup` asks for it.
    """
    names = ["SIGINT", "SIGTERM"]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        names.append("SIGHUP")
    return tuple(signal.Signals[name] for name in names)


def heed_signals_as_process_1() -> None:
    """As process 1 of a container: SIGTERM and SIGHUP end the program while it starts.

    The kernel drops a signal to process 1 that has no handler, so that one which comes while the
    agent's code is imported would be lost, and the worker would register and take jobs.
    """
    if os.getpid() != 1 or threading.current_thread() is not threading.main_thread():
        return
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end)


def interrupts_end_quietly() -> None:
    """Have SIGINT end the program without a traceback, as long as nothing but imports has begun."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupts_raise() -> None:
    """Undo `interrupts_end_quietly`: from now on SIGINT raises `KeyboardInterrupt`.

    Python drops an exception that comes in a callback of a weak reference, as imports have them,
    and the program would go on. Before Trio runs, that ends the program, too.
    """
    if signal.getsignal(signal.SIGINT) is not _end:
        return
    sys.unraisablehook = _end_where_dropped
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_where_dropped(dropped: sys.UnraisableHookArgs) -> None:
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours and isinstance(dropped.exc_value, KeyboardInterrupt):
        _end(signal.SIGINT, None)
    sys.__unraisablehook__(dropped)


def heed_ends_of_children() -> None:
    """Undo a SIGCHLD that is ignored, as a program may inherit it from what has started it.

    The kernel then throws the exit codes of children away, and Python takes each for a 0: those of
    job processes, and those of what jobs start. For the main thread, before anything is started.
    """
    child_ended = getattr(signal, "SIGCHLD", None)  # not on Windows
    if child_ended is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(child_ended) is signal.SIG_IGN:
        signal.signal(child_ended, signal.SIG_DFL)


def _end(signum: int, _: FrameType | None) -> None:
    os._exit(128 + signum)  # nothing has begun; what is imported may swallow an exception


@contextmanager
def blocked_in_what_starts() -> Iterator[None]:
    """A program that is started in the body begins with SIGINT, SIGTERM and SIGHUP blocked.

    It inherits the mask of this thread. So an interpreter has no moment in which they end it: it
    lets them in once it has its handlers (`runner.early_signals.let_signals_in`).
    """
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Keep a SIGINT that comes during the body, and raise `KeyboardInterrupt` after it.

    For a body that loads our code, in a program of the user's. Python drops an exception that
    comes in a callback of a weak reference, as imports have them. Where nothing catches it,
    the program ends without a traceback: a place in our imports tells a person nothing. A second
    SIGINT is not kept. Does nothing outside the main thread, and where the program has its own
    way with SIGINT.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    held: list[int] = []

    def hold(signum: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        held.append(signum)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if held:
        raise _without_traceback(KeyboardInterrupt())


def _without_traceback(error: KeyboardInterrupt) -> KeyboardInterrupt:
    """The same, but Python prints nothing where it ends the program."""
    show = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is not error:
            show(kind, value, trace)

    sys.excepthook = hook
    return error
