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
    """Return SIGINT, SIGTERM, and SIGHUP, which comes when the terminal is closed.

    SIGHUP is left out if it is ignored, as under `nohup`.
    """
    names = ["SIGINT", "SIGTERM"]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        names.append("SIGHUP")
    return tuple(signal.Signals[name] for name in names)


def heed_signals_as_process_1() -> None:
    """Let SIGTERM and SIGHUP end the program while it starts as process 1 of a container.

    The kernel drops a signal to process 1 that has no handler. A signal that comes while the
    agent's code is imported would be lost, and the worker would register and take jobs.
    """
    if os.getpid() != 1 or threading.current_thread() is not threading.main_thread():
        return
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end)


def interrupts_end_quietly() -> None:
    """Let SIGINT end the program without a traceback while it only imports."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupts_raise() -> None:
    """Undo `interrupts_end_quietly`: from now on SIGINT raises `KeyboardInterrupt`.

    Imports run callbacks of weak references. Python drops an exception in such a callback, and the
    program would go on. Until Trio runs, a dropped interrupt ends the program as well.
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
    """Reset a SIGCHLD that is ignored, as a program may inherit it from its parent.

    The kernel then drops the exit codes of children, and Python takes each for a 0: those of job
    processes, and those of programs that jobs start. Call it in the main thread, before anything is
    started.
    """
    child_ended = getattr(signal, "SIGCHLD", None)  # not on Windows
    if child_ended is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(child_ended) is signal.SIG_IGN:
        signal.signal(child_ended, signal.SIG_DFL)


def _end(signum: int, _: FrameType | None) -> None:
    os._exit(128 + signum)  # nothing has begun, and imported code may swallow an exception


@contextmanager
def blocked_in_what_starts() -> Iterator[None]:
    """Block SIGINT, SIGTERM and SIGHUP in programs that are started in the body.

    They inherit the mask of this thread. So these signals cannot end an interpreter before it has
    its handlers and lets them in (`runner.early_signals.let_signals_in`).
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
    """Hold back a SIGINT that comes during the body, and raise `KeyboardInterrupt` after it.

    For a body that loads our code, in a program of the user. Imports run callbacks of weak
    references, in which Python drops an exception. If no code catches the interrupt, the program
    ends without a traceback: a place in our imports does not help a person. A second SIGINT is not
    held back. It does nothing outside the main thread, or if the program handles SIGINT itself.
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
    """Return the same error; Python prints nothing if it ends the program."""
    show = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is not error:
            show(kind, value, trace)

    sys.excepthook = hook
    return error
