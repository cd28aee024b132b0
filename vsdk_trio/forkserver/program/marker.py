"""What a process shows of itself to others: its cookie and its command line.

`/proc/PID/environ` and `cmdline` show the memory that the kernel filled when the program was
started, and a fork inherits that: all children of a template would carry the template's cookie, and
so would everything that they fork in turn. The memory is the process's own, and can be written.

Linux only. Knows nothing of what the marks are for.
"""

from __future__ import annotations

import os

import attrs

_MEMORY = "/proc/self/mem"
# Positions in /proc/self/stat, counted from behind the name: see proc(5).
_ARGUMENTS, _ENVIRONMENT = 45, 47


@attrs.frozen(kw_only=True)
class Area:
    """A stretch of this process's memory that is one text to others, padded with null bytes."""

    start: int
    size: int

    def write(self, text: bytes) -> None:
        """Show `text`. Raises `ValueError` where it is too long, `OSError` where it may not."""
        if len(text) > self.size:
            raise ValueError(f"{len(text)} bytes do not fit into {self.size}")
        # Opened each time: a descriptor from before a fork is the parent's memory.
        memory = os.open(_MEMORY, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, text.ljust(self.size, b"\0"), self.start)
        finally:
            os.close(memory)


def find_variable(name: str) -> Area:
    """Where the value of the environment variable `name` is shown.

    Raises `OSError` where the system does not tell, `LookupError` where there is none: it was not
    there when the program was started, or something has overwritten the place since.
    """
    start, end = _bounds(_ENVIRONMENT)
    with open("/proc/self/environ", "rb") as file:
        shown = file.read()
    entry = f"{name}=".encode()
    if len(shown) == end - start:
        position = 0
        for text in shown.split(b"\0"):
            if text.startswith(entry):
                return Area(start=start + position + len(entry), size=len(text) - len(entry))
            position += len(text) + 1
    raise LookupError(f"the environment of this process does not show {name}")


def find_command_line() -> Area:
    """Where the command line is shown, its last null byte excluded. Raises `OSError`."""
    start, end = _bounds(_ARGUMENTS)
    return Area(start=start, size=end - start - 1)


def _bounds(position: int) -> tuple[int, int]:
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[position]), int(fields[position + 1])
