"""Reads /proc: the one place that knows its files and their formats. See proc(5).

Linux only; elsewhere the functions return what they return for a process that is gone.

The standard library only: the guardian imports it as well, and each job process.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

COOKIE_VARIABLE = "VSDK_TRIO_COOKIE"
"""The environment variable that marks every process of a job, whatever session it moves to."""

_COOKIE = f"{COOKIE_VARIABLE}=".encode()
# These errors mean that the process has ended, or is ending. With any other error this process
# could not look, which is not the same as seeing nothing.
GONE = (errno.ENOENT, errno.ESRCH)
# Processes of other users, or that protect themselves, are not to be looked at.
_NOT_OURS = (errno.EACCES, errno.EPERM)


HAS_PROC = os.path.exists("/proc/self/statm")
"""Whether there is a /proc, as on Linux."""


class Stat:
    """What /proc/<pid>/stat says of a process."""

    __slots__ = ("_fields",)

    def __init__(self, line: bytes) -> None:
        # The name before these fields may hold anything, parentheses and blanks included.
        self._fields = line.rpartition(b")")[2].split()

    @property
    def is_zombie(self) -> bool:
        """Whether it has ended and waits for its parent to reap it."""
        return self._fields[0] == b"Z"

    @property
    def parent(self) -> int:
        """The process id of its parent."""
        return int(self._fields[1])

    @property
    def group(self) -> int:
        """Its process group."""
        return int(self._fields[2])

    @property
    def session(self) -> int:
        """Its session."""
        return int(self._fields[3])

    @property
    def had_children(self) -> bool:
        """Whether it has waited for children; they have left their page faults."""
        return self._fields[8] != b"0"

    @property
    def start_time(self) -> int:
        """Clock ticks from boot to its start; tells it from a later process of the same number."""
        return int(self._fields[19])

    @property
    def arguments(self) -> tuple[int, int]:
        """The addresses at which its command line begins and ends."""
        return int(self._fields[45]), int(self._fields[46])

    @property
    def environment(self) -> tuple[int, int]:
        """The addresses at which its environment begins and ends."""
        return int(self._fields[47]), int(self._fields[48])

    @property
    def wait_status(self) -> int:
        """How it ended, as `os.waitpid` has it; of a zombie."""
        return int(self._fields[49])


def read_stat(pid: int) -> Stat | None:
    """Return the state of a process; None if it is gone or cannot be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return Stat(file.read())
    except OSError:
        return None


def list_pids() -> list[int]:
    """Return the ids of all processes that can be seen.

    Raises:
        OSError: There is no /proc, or no descriptor to read it with.
    """
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read_environ(pid: int) -> bytes:
    """Return the environment that a process shows; each entry ends with a null byte.

    Raises:
        OSError: It is gone, or this process may not look.
    """
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read()


def read_command_line(pid: int) -> bytes:
    """Return the command line that a process shows; each argument ends with a null byte.

    Raises:
        OSError: It is gone, or this process may not look.
    """
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def read_cookie(pid: int) -> bytes:
    """Return the cookie of a process; empty if it has none, is gone, or is of another user.

    Raises:
        OSError: This process could not look: it lacks descriptors or memory.
    """
    try:
        environ = read_environ(pid)
    except OSError as error:
        if error.errno in GONE or (error.errno in _NOT_OURS and pid != os.getpid()):
            return b""
        raise
    for entry in environ.split(b"\0"):
        if entry.startswith(_COOKIE):
            return entry[len(_COOKIE) :]
    return b""


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it is gone or cannot be seen."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Return the PSS of a process, or what is resident where the kernel does not tell the PSS."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_bytes(pid)


def may_have_children(pid: int) -> bool:
    """Return whether a process has children; True as well where the kernel does not tell."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                if file.read(1):
                    return True
    except FileNotFoundError:
        return True  # a thread that has just ended, or a kernel that does not tell
    except OSError:
        pass
    return False


def catches_signal(pid: int, signum: int) -> bool:
    """Return whether a process handles `signum`, so that it does not end by it.

    Without /proc, whether the signal does no harm where it is not handled: SIGINFO on macOS.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    except OSError:
        pass
    return sys.platform == "darwin"


def read_cgroups(root: str = "/") -> list[str]:
    """Return the cgroups of this process, one a line; none if the system has no cgroups.

    Args:
        root: The root of the file system.
    """
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


def name_threads() -> list[str]:
    """Return the names of all threads of this process but the main one, sorted.

    Raises:
        OSError: There is no /proc, or no descriptor to read it with.
    """
    found = []
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != os.getpid():
            # One that has just ended is not there any more.
            with suppress(OSError), open(f"/proc/self/task/{thread}/comm", "rb") as file:
                found.append(file.read().strip().decode(errors="replace"))
    return sorted(found)


def open_descriptors() -> dict[int, str]:
    """Return the open descriptors of this process, and what each is, as the kernel calls it.

    Raises:
        OSError: There is no /proc, or no descriptor to read it with.
    """
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the directory itself
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found
