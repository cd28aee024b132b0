"""What a job process reports about its health: memory, event loop lag, and stacks.

The stacks come from faulthandler, which needs neither the GIL nor a running event loop, so a
process shows them at a crash, and when a signal asks for them, even if it can do nothing else.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time

import trio

from ..system.proc import resident_bytes

_MIB = 1 << 20


def memory_mb() -> float | None:
    """Return the resident memory of this process in MiB; its peak on macOS; None if unknown."""
    return resident_bytes(os.getpid()) / _MIB or _peak_memory_mb()


def _peak_memory_mb() -> float | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MIB if sys.platform == "darwin" else peak / 1024


class LongestStep(trio.abc.Instrument):
    """Measures the longest time between two checkpoints: how long other tasks had to wait."""

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
        """Return the longest step since the last call, in milliseconds."""
        longest, self._longest = self._longest, 0.0
        return round(longest * 1000, 3)


_installed = 0  # as a signal handler is one for the whole process; a forked child has both


def stack_signal() -> int:
    """Return the signal that makes this process write its stacks; 0 if there is none."""
    return _installed


def write_stacks_to(fd: int) -> None:
    """Write the stacks of all threads to `fd` at a crash, and when `stack_signal` comes."""
    global _installed
    faulthandler.enable(fd)
    if signum := _spare_signal():
        faulthandler.register(signum, file=fd, all_threads=True, chain=False)
        _installed = signum


def _spare_signal() -> int:
    """Return a real-time signal: SIGUSR1 and SIGUSR2 are the user's, others have meanings."""
    if hasattr(signal, "SIGRTMIN"):
        return int(signal.SIGRTMIN) + 10
    return int(getattr(signal, "SIGINFO", 0))  # macOS: "tell what you do", ignored by default
