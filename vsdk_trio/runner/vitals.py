"""What a job process tells about its health: its memory, and how long its loop was blocked.

Knows the platform and trio's instruments. Must not know who asks.
"""

from __future__ import annotations

import os
import sys
import time

import trio

_MIB = 1 << 20


def memory_mb() -> float | None:
    """The resident memory of this process in MiB; its peak on macOS; None where nobody tells."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[1])
    except OSError:
        return _peak_memory_mb()
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _peak_memory_mb() -> float | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MIB if sys.platform == "darwin" else peak / 1024


class LongestStep(trio.abc.Instrument):
    """Remembers the longest time between two checkpoints: how long others had to wait."""

    def __init__(self) -> None:
        self._step_started = time.perf_counter()  # it is added in the middle of a step
        self._longest = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        self._step_started = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        self._longest = max(self._longest, time.perf_counter() - self._step_started)

    def take_ms(self) -> float:
        """The longest step since the last call, in milliseconds."""
        longest, self._longest = self._longest, 0.0
        return round(longest * 1000, 3)
