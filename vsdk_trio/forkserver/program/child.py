"""The first and the last moments of a forked job process; what is between is the runner's.

Makes a fresh fork what a freshly started program would be: a session, three pipes, an environment,
default signals, random generators of its own. And ends it as an interpreter would end, but
for taking itself apart. Knows orders; must not know what the process is for.
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
    """Turn a fresh fork into what `order` describes. `handlers`: the signals' own, to put back."""
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
    """Run the program of this process, and end as an interpreter does, with what it returns.

    Threads are waited for, `atexit` functions run (also those registered before the fork), output
    is flushed. But nothing is taken apart: that would only make memory private that is shared.
    """
    code = 1
    try:
        try:
            code = run()
        except BaseException:
            # Without what called this: that is the template's.
            traceback.print_exc()
        threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing has it
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    """Flush what is printed, and the files that this process has opened and left open.

    What was open before the fork is frozen, and so left out: another process's file.
    """
    opened = [thing for thing in gc.get_objects() if issubclass(type(thing), io.IOBase)]
    for file in [sys.stdout, sys.stderr, *opened]:
        with suppress(OSError, ValueError, AttributeError):  # closed, nobody reads, none at all
            file.flush()
