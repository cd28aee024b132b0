"""What a process shows of itself to others: the marker in its environment, and its command line.

Reason: guardian, sweeper and the next worker find the processes of a job by the cookie in
`/proc/PID/environ`. The kernel fills the memory behind it when a program is started, and a fork
inherits that memory. So each child of a template would show the cookie of the template, and so
would everything that it forks in turn. The memory belongs to the process, which writes its own
cookie over it, through `/proc/self/mem`.

Guard: only these two places are written, found in `/proc/self/stat` and compared with what
`/proc/self/environ` shows. A text that is longer than its place is refused. The template writes its
own cookie first, before it forks anything.

Fall-back: where any of this fails, `find_marker` raises `UnforkableError`, and the worker starts
job processes afresh.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from ...system import proc
from .fork_safety import UnforkableError


@attrs.frozen(kw_only=True)
class Area:
    """A part of this process's memory that is one text to others, padded with null bytes."""

    start: int
    size: int

    def write(self, text: bytes) -> None:
        """Show `text`.

        Raises:
            ValueError: It is too long.
            OSError: This process may not write its own memory.
        """
        if len(text) > self.size:
            raise ValueError(f"{len(text)} bytes do not fit into {self.size}")
        # Opened each time: a descriptor from before a fork is the parent's memory.
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, text.ljust(self.size, b"\0"), self.start)
        finally:
            os.close(memory)


@attrs.frozen(kw_only=True)
class EnvironmentMarker:
    """Where a process shows its cookie and its command line."""

    cookie: Area
    command_line: Area

    def show(self, cookie: str, argv: Sequence[str]) -> None:
        """Show this cookie and command line. Raises as `Area.write`."""
        self.cookie.write(cookie.encode())
        shown = b"\0".join(map(os.fsencode, argv))
        if len(shown) <= self.command_line.size:  # else it goes on showing the template's
            self.command_line.write(shown)


def find_marker() -> EnvironmentMarker:
    """Find the marker of this process, and try to write it.

    Raises:
        UnforkableError: It cannot be found or written.
    """
    try:
        marker = EnvironmentMarker(
            cookie=find_variable(proc.COOKIE_VARIABLE), command_line=find_command_line()
        )
        marker.cookie.write(os.environ[proc.COOKIE_VARIABLE].encode())
    except (OSError, LookupError) as error:
        raise UnforkableError(f"forked processes could not be marked as a job's: {error}") from None
    return marker


def find_variable(name: str) -> Area:
    """Find the memory that shows the value of an environment variable.

    Raises:
        OSError: The system does not tell.
        LookupError: The variable was not there when the program was started, or something has
            overwritten the place since.
    """
    start, end = _own_stat().environment
    shown = proc.read_environ(os.getpid())
    entry = f"{name}=".encode()
    if len(shown) == end - start:
        position = 0
        for text in shown.split(b"\0"):
            if text.startswith(entry):
                return Area(start=start + position + len(entry), size=len(text) - len(entry))
            position += len(text) + 1
    raise LookupError(f"the environment of this process does not show {name}")


def find_command_line() -> Area:
    """Find the memory that shows the command line, without its last null byte.

    Raises:
        OSError: The system does not tell.
    """
    start, end = _own_stat().arguments
    return Area(start=start, size=end - start - 1)


def _own_stat() -> proc.Stat:
    stat = proc.read_stat(os.getpid())
    if stat is None:
        raise OSError("/proc/self/stat cannot be read")
    return stat
