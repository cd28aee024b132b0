"""What a sandbox does to a program that is started in it; a test copies it as `sitecustomize.py`.

`SANDBOX` names what is refused. Each program of a worker loads it, job processes and guardian
included, but for those that are started with `-S`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import signal
import sys
from typing import Any, NoReturn


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def _no_more_threads() -> None:
    """While there is a file `starved`, no thread can be started anywhere, and none is kept."""
    import _thread
    import threading

    start = _thread.start_new_thread

    def scarce(*args: Any, **kwargs: Any) -> int:
        if pathlib.Path("starved").exists():
            raise RuntimeError("can't start new thread")
        return start(*args, **kwargs)

    joinable = getattr(_thread, "start_joinable_thread", None)  # Python 3.13

    def scarce_joinable(*args: Any, **kwargs: Any) -> Any:
        if pathlib.Path("starved").exists():
            raise RuntimeError("can't start new thread")
        assert joinable is not None
        return joinable(*args, **kwargs)

    _thread.start_new_thread = scarce
    threading._start_new_thread = scarce  # type: ignore[attr-defined]  # as `threading` calls it
    if joinable is not None:
        threading._start_joinable_thread = scarce_joinable  # type: ignore[attr-defined]  # as above
    from trio._core import _thread_cache

    _thread_cache.IDLE_TIMEOUT = 0.1


def _use_descriptors_up() -> None:
    """Leak all descriptors while there is a file `starved`, and keep them while there is `held`."""
    import resource
    import threading
    import time

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def leak() -> None:
        leaked: list[int] = []
        while True:
            if os.path.exists("starved"):
                with contextlib.suppress(OSError):
                    while True:
                        leaked.append(os.dup(0))
            elif not os.path.exists("held"):
                while leaked:
                    os.close(leaked.pop())
            time.sleep(0.02)

    threading.Thread(target=leak, daemon=True).start()


is_worker = not any("runner" in word or "template" in word for word in sys.orig_argv)
match os.environ.get("SANDBOX"):
    case "no pidfds":
        os.pidfd_open = _refuse
    case "no signals by pidfd":
        signal.pidfd_send_signal = _refuse
    case "no threads" if not any("runner" in word for word in sys.orig_argv):
        _no_more_threads()
    case "no descriptors" if is_worker:
        _use_descriptors_up()
