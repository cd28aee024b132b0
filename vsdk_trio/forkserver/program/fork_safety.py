"""Whether this process may be forked: its threads, its open channels, and the files of its code.

A fork has only the thread that forks. Channels that were open before are shared by all forks. And
code that was loaded before it was changed is old: a check costs one `stat` for each file of the
user, and one for each directory of installed packages, in which installing, upgrading and removing
rename something.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TypeAlias

from ...system.proc import name_threads, open_descriptors

_HARMLESS_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_PACKAGE_DIRECTORIES = ("site-packages", "dist-packages")

# A file's time comes from a clock that ticks: what is written now may look so much older.
_FILE_CLOCK_TICK_NS = 10_000_000

_State: TypeAlias = tuple[int, int, int] | None


class UnforkableError(Exception):
    """This process must not be forked; the text says why, for a person."""


def check_fork_safety(before: dict[int, str], *, cautious: bool) -> list[str]:
    """Look for what a fork would break or share.

    Args:
        before: `open_channels()` before the user's code was loaded.
        cautious: Refuse where the code has opened channels.

    Returns:
        Warnings, as texts for a person.

    Raises:
        UnforkableError: This process must not be forked.
    """
    if threads := python_threads():
        raise UnforkableError(f"its code has started threads: {', '.join(threads)}")
    if signal.getsignal(signal.SIGCHLD) is None:
        raise UnforkableError("a library handles SIGCHLD, so that ends of processes go unseen")
    warnings = []
    if tasks := system_threads():
        warnings.append(
            f"libraries have started threads of their own ({', '.join(tasks)}), which job "
            "processes will not have; most know how to start them again, else use "
            "start_method='spawn'"
        )
    opened = [
        f"{fd} ({target})"
        for fd, target in sorted(open_channels().items())
        if before.get(fd) != target
    ]
    if opened:
        text = f"its code has opened what all jobs would share: descriptors {', '.join(opened)}"
        if cautious:
            raise UnforkableError(text)
        warnings.append(text)
    return warnings


def reason_to_decline(sources: SourceFiles) -> Callable[[], str | None]:
    """Return a function that is called before each fork; it returns why there must be none."""

    def look() -> str | None:
        if threads := python_threads():
            return f"it has threads: {', '.join(threads)}"
        if path := sources.changed():
            return f"its code has changed: {path}"
        return None

    return look


def python_threads() -> list[str]:
    """Return the threads that run Python besides this one: name, and where each is now."""
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
    """Return the names of all threads besides the main one, as the system knows them."""
    return name_threads()


def open_channels() -> dict[int, str]:
    """Return the open descriptors that are no files: sockets, pipes, event queues, devices."""
    return {fd: target for fd, target in open_descriptors().items() if _is_channel(target)}


def _is_channel(target: str) -> bool:
    if target.startswith("/dev/"):
        device = target.removeprefix("/dev/")
        # Files in shared memory are shared on purpose.
        return device not in _HARMLESS_DEVICES and not device.startswith(("shm/", "pts/"))
    return target.startswith(("socket:", "pipe:", "anon_inode:"))


class SourceFiles:
    """The files of the modules that were loaded between two moments.

    Make it right after loading: a file that was written meanwhile counts as changed.

    Args:
        before: A copy of `sys.modules` before loading.
        since: `time.time_ns()` before loading.
    """

    def __init__(self, before: Mapping[str, object], since: int) -> None:
        paths = {_watched(_origin(module)) for module in _new_modules(before)} - {""}
        self._states = {path: _state(path) for path in paths}
        now = time.time_ns()
        self._changed_meanwhile = [
            path
            for path, state in self._states.items()
            if state is not None
            and since - _FILE_CLOCK_TICK_NS <= state[0] <= now
            and not os.path.isdir(path)
        ]

    def changed(self) -> str | None:
        """Return a path that has changed; None if there is none."""
        if self._changed_meanwhile:
            return self._changed_meanwhile[0]
        for path, state in self._states.items():
            if _state(path) != state:
                return path
        return None


def _new_modules(known: Mapping[str, object]) -> list[object]:
    # Not by name alone: `multiprocessing` has given the main module's to another one. Of a copy: a
    # lazy module in it may load others when it is looked at.
    loaded = list(sys.modules.items())
    return [module for name, module in loaded if known.get(name) is not module]


def _origin(module: object) -> str:
    # Not by `getattr`: some modules load things when asked for what they do not have.
    path = vars(module).get("__file__") if hasattr(module, "__dict__") else None
    return os.path.abspath(path) if isinstance(path, str) else ""


def _watched(path: str) -> str:
    """Return the path to watch for the file `path`; empty for none."""
    for name in _PACKAGE_DIRECTORIES:
        head, found, _ = path.partition(f"{os.sep}{name}{os.sep}")
        if found:
            return os.path.join(head, name)
    return "" if path.startswith(_STANDARD_LIBRARY + os.sep) else path


def _state(path: str) -> _State:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
