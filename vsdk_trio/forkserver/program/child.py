"""The first and the last steps of a forked job process; the runner does the rest.

A fresh fork gets what a freshly started program has: a session, three pipes, an environment,
default signals, and random generators of its own. It ends as an interpreter ends, but it does not
free its objects. Knows orders; knows no jobs.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from ...runner.early_signals import ignore_while_the_worker_lives
from ...system.proc import COOKIE_VARIABLE
from ..orders import Fork
from .environment_marker import EnvironmentMarker


def settle_in(
    order: Fork, pipes: Sequence[int], marker: EnvironmentMarker, handlers: Mapping[int, Any]
) -> None:
    """Turn a fresh fork into the process that an order describes.

    Args:
        order: The order.
        pipes: Its stdin, stdout and stderr.
        marker: Where it shows its cookie and command line.
        handlers: Signal handlers of the user's code, to restore.
    """
    os.setsid()
    for number, fd in enumerate(pipes):
        os.dup2(fd, number)
    for fd in pipes:
        os.close(fd)
    for name, value in order.env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.environ[COOKIE_VARIABLE] = order.cookie
    marker.show(order.cookie, order.argv)
    signal.set_wakeup_fd(-1)
    ignore_while_the_worker_lives(0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    # The standard library's reseeds itself.
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()


def live(run: Callable[[], int]) -> NoReturn:
    """Run the program of this process, and end as an interpreter does, with its return code.

    It waits for threads, runs `atexit` functions (also those registered before the fork), and
    flushes output. It frees no objects: that would only copy memory that is shared.
    """
    code = 1
    try:
        try:
            code = run()
        except BaseException:
            # The frames that called this belong to the template.
            traceback.print_exc()
        threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing has it
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    """Flush printed text, and the files that this process has opened and left open.

    Files that were open before the fork are frozen objects, and are left out.
    """
    opened = [thing for thing in gc.get_objects() if issubclass(type(thing), io.IOBase)]
    for file in [sys.stdout, sys.stderr, *opened]:
        with suppress(OSError, ValueError, AttributeError):  # closed, without a reader, or missing
            file.flush()
