"""What makes forking this process dangerous: threads, and channels that all forks would share.

Looks and tells; what to do about it is for others to decide.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from contextlib import suppress

_HARMLESS_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_TASKS = "/proc/self/task"


def python_threads() -> list[str]:
    """The threads that run Python besides this one: name, and where each is now."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    # Also those that `threading` does not know, such as a C library's that have run a callback.
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            place = traceback.extract_stack(frame)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno} in {place.name}"
            found.append(f"{names.get(ident, 'without a name')!r} ({where})")
    return sorted(found)


def system_threads() -> list[str]:
    """The names of all threads besides the main one, as the system knows them."""
    found = []
    for task in os.listdir(_TASKS):
        if int(task) != os.getpid():
            # One that has just ended is not there any more.
            with suppress(OSError), open(f"{_TASKS}/{task}/comm", "rb") as file:
                found.append(file.read().strip().decode(errors="replace"))
    return sorted(found)


def open_channels() -> dict[int, str]:
    """The open descriptors that are no files: sockets, pipes, event queues, devices."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the directory itself
            target = os.readlink(f"/proc/self/fd/{name}")
            if _is_channel(target):
                found[int(name)] = target
    return found


def _is_channel(target: str) -> bool:
    if target.startswith("/dev/"):
        device = target.removeprefix("/dev/")
        # Files in shared memory are shared on purpose.
        return device not in _HARMLESS_DEVICES and not device.startswith(("shm/", "pts/"))
    return target.startswith(("socket:", "pipe:", "anon_inode:"))
