"""Finds the stacks that Python's faulthandler writes to stderr: a crash, or an answer to a signal.

Lines in, whole dumps out. Knows the format of faulthandler's text; must not know processes.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

MAX_LINES: Final = 200
BEGINNINGS: Final = (b"Fatal Python error: ", b"Current thread 0x", b"Thread 0x")
"""How the first line of a dump begins. Of the lines of a flood, few do."""

_FATAL: Final = "Fatal Python error: "
_THREAD: Final = re.compile(r"(?:Current thread|Thread) 0x[0-9a-f]+.* \(most recent call first\):$")
_GOES_ON: Final = re.compile(
    r"$|  File \"|  \.\.\.$|  <|  Binary file |  Garbage-collecting$"
    r"|Python runtime state: |Current thread's C stack trace|Extension modules: "
)
# Below these frames nobody finds what blocks or crashes a job, but how it came to run.
_PLUMBING: Final = re.compile(
    r'  File "[^"]*[/\\](?:trio[/\\]_core[/\\]|vsdk_trio[/\\]runner[/\\]execution\.py)'
)


@attrs.frozen
class StackDump:
    """The stacks of a process's threads, innermost frame first; the current thread comes first."""

    text: str
    fatal: str = ""
    """The error that the process died of, as Python has it; empty where it lives on."""


class StackCollector:
    """Takes a process's lines one by one, and keeps those that belong to a dump."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @property
    def is_collecting(self) -> bool:
        """Whether a dump has begun; it has no last line, so somebody has to say when to stop."""
        return bool(self._lines)

    def wants(self, line: str) -> bool:
        """Whether `line` goes on with the dump that has begun, or begins one where none has."""
        if not self._lines:
            return line.startswith(_FATAL) or _THREAD.match(line) is not None
        if len(self._lines) >= MAX_LINES or line.startswith(_FATAL):
            return False
        return _GOES_ON.match(line) is not None or _THREAD.match(line) is not None

    def take(self, line: str) -> None:
        """Add a line that is wanted."""
        self._lines.append(line)

    def end(self) -> StackDump | None:
        """The dump that has begun, if one has; the next wanted line begins another."""
        if not self._lines:
            return None
        lines, self._lines = self._lines, []
        fatal = lines.pop(0).removeprefix(_FATAL) if lines[0].startswith(_FATAL) else ""
        return StackDump("\n".join(_tidied(lines)), fatal)


def _tidied(lines: list[str]) -> list[str]:
    """Without the frames below the user's, threads that only wait for work, and empty lines."""
    blocks: list[list[str]] = []
    for line in filter(None, lines):
        if _THREAD.match(line) or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    blocks.sort(key=lambda block: not block[0].startswith("Current thread"))
    tidied = [line for block in map(_cut, blocks) if len(block) > 1 for line in block]
    return tidied or [line for line in lines if line]


def _cut(block: list[str]) -> list[str]:
    for number, line in enumerate(block):
        if number and _PLUMBING.match(line):
            return block[:number]
    return block
