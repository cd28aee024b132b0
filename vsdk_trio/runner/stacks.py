"""The stacks of a job process, written to its stderr by a crash, or when a signal asks for them.

Knows faulthandler, which needs neither the GIL nor an event loop that goes round: so a process
tells what it does even where it can do nothing else. Must not know who asks.
"""

from __future__ import annotations

import faulthandler
import signal

_installed = 0  # as a signal handler is one for the whole process; a forked child has both


def stack_signal() -> int:
    """The signal that makes this process write its stacks; 0 where none does."""
    return _installed


def write_stacks_to(fd: int) -> None:
    """Write the stacks of all threads to `fd` at a crash, and whenever `stack_signal` comes."""
    global _installed
    faulthandler.enable(fd)
    if signum := _spare_signal():
        faulthandler.register(signum, file=fd, all_threads=True, chain=False)
        _installed = signum


def _spare_signal() -> int:
    """A real-time signal: SIGUSR1 and SIGUSR2 are the user's, and others have meanings."""
    if hasattr(signal, "SIGRTMIN"):
        return int(signal.SIGRTMIN) + 10
    return int(getattr(signal, "SIGINFO", 0))  # macOS: "tell what you do", ignored by default
