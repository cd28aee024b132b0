"""The guardian: a tiny process that ends what a worker leaves behind when it dies.

It is run by `python -I -S` with the arguments <grace> <cookie prefix>. It loads the standard
library, this file and `system/proc.py`, and starts in a few milliseconds. Its stdin says which
process groups exist. The end of stdin is the end of the worker, however the worker ended. The job
processes see the same end on their own stdin and stop politely. The guardian kills those that are
left after the grace. It knows no jobs.

The worker's sweeper imports `kill_marked` from here.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from ..system import proc

_POLL_SECONDS = 0.02
# Each round kills what the last one's victims forked meanwhile. A fork bomb would win for ever.
_ROUNDS = 20
# A process that is just executing another program shows no environment for a moment.
_CLEAN_ROUNDS = 2
_STARVED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# A system or a sandbox that has no pidfds, for good.
_NO_PIDFDS = (errno.ENOSYS, errno.EPERM, errno.EACCES)
# How often, once a second, the guardian tries to look. What starves a whole machine passes.
_STARVED_ROUNDS = 600


def main() -> None:
    """Wait for the end of the worker, then end its processes."""
    # A signal to the worker's whole group, or service, must not end the guardian. The worker has
    # started it with these signals blocked, so none ends it before this line.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    os.chdir("/")
    grace, prefix = float(sys.argv[1]), os.fsencode(sys.argv[2])
    groups = _follow()
    _wait_for(groups, time.monotonic() + grace)
    for group in groups:
        _kill_group(group)
    for _ in range(_STARVED_ROUNDS):
        try:
            kill_marked(lambda cookie: cookie.startswith(prefix))
        except OSError as error:
            if error.errno not in _STARVED:
                break  # and so it will stay
            time.sleep(1)
        else:
            break


def _follow() -> set[int]:
    """Read `+<group> <start time>` and `-<group>` lines until the worker is gone."""
    started: dict[int, str] = {}
    for line in sys.stdin:
        if not line.endswith("\n"):
            break  # half a line: the worker died writing it
        number, _, start = line[1:].strip().partition(" ")
        if line.startswith("+"):
            # A worker without descriptors cannot read it. The process has just started.
            started[int(number)] = start or start_time(int(number))
        elif line.startswith("-"):
            started.pop(int(number), None)
    # A number whose process has another start time belongs to another process now. One that cannot
    # be seen stays in the set: a group that is gone cannot be killed.
    return {group for group, start in started.items() if start_time(group) in ("", start)}


def _wait_for(groups: set[int], until: float) -> None:
    """Wait until the leaders of all `groups` are gone, or time is up.

    A group whose leader is gone is killed at once, as a living worker does, and dropped. Its number
    is not looked at again, because the kernel may give it to another process; the kernel does not
    do so between two polls.
    """
    while True:
        for group in list(groups):
            if not _is_alive(group):
                _kill_group(group)
                groups.discard(group)
        if not groups or time.monotonic() >= until:
            return
        time.sleep(_POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A zombie can be signalled, and a container may have no process that reaps it.
    stat = proc.read_stat(pid)
    return stat is None or not stat.is_zombie


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def start_time(pid: int) -> str:
    """Return the start time of a process, which tells it from a later one; "" if unknown."""
    stat = proc.read_stat(pid)
    return "" if stat is None else str(stat.start_time)


def kill_marked(is_mine: Callable[[bytes], bool]) -> int:
    """SIGKILL every process whose cookie `is_mine`, until there is none.

    Linux only: elsewhere a process may not read the environment of another one.

    Returns:
        How many processes it has killed.

    Raises:
        OSError: This process could not look: no descriptors, no memory, or no /proc.
    """
    killed = clean = 0
    for _ in range(_ROUNDS):
        found = sum(_kill_if_marked(pid, is_mine) for pid in _pids())
        killed += found
        clean = 0 if found else clean + 1
        if clean == _CLEAN_ROUNDS:
            break
        time.sleep(_POLL_SECONDS)  # a killed process keeps its environment for a moment
    return killed


def count_marked(is_mine: Callable[[bytes], bool]) -> int:
    """Return how many processes have a cookie that `is_mine`; 0 on other systems than Linux.

    Raises:
        OSError: As `kill_marked`.
    """
    return sum(is_mine(proc.read_cookie(pid)) for pid in _pids() if pid != os.getpid())


def _pids() -> list[int]:
    if sys.platform != "linux":
        return []
    pids = proc.list_pids()
    if os.getpid() not in pids:
        raise OSError(errno.ENOENT, "/proc does not show the processes of this machine")
    return pids


def _kill_if_marked(pid: int, is_mine: Callable[[bytes], bool]) -> bool:
    if not is_mine(proc.read_cookie(pid)) or pid == os.getpid():
        return False
    # Check again with a pidfd, which cannot come to mean another process.
    try:
        return _kill_by_handle(pid, is_mine)
    except AttributeError:  # Python was built for a kernel that has none
        return _kill_by_number(pid, is_mine)
    except OSError as error:
        if error.errno in _NO_PIDFDS:
            return _kill_by_number(pid, is_mine)
        if error.errno in proc.GONE:
            return False
        raise


def _kill_by_handle(pid: int, is_mine: Callable[[bytes], bool]) -> bool:
    handle = os.pidfd_open(pid)
    try:
        if not is_mine(proc.read_cookie(pid)):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    return True


def _kill_by_number(pid: int, is_mine: Callable[[bytes], bool]) -> bool:
    """Kill without a pidfd: the number was seen a moment ago, and is not given again so soon."""
    if not is_mine(proc.read_cookie(pid)):
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # gone; or it has become another user's
        return False
    return True
