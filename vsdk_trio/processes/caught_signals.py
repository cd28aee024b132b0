"""Whether a process has a handler for a signal: what it has none for may end it.

The edge to the operating system; knows process ids and nothing else.
"""

from __future__ import annotations

import sys


def catches(pid: int, signum: int) -> bool:
    """Whether the process catches `signum`; without /proc, whether it is harmless if not."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    except OSError:
        pass
    # SIGINFO, which macOS has and which is ignored where it is not caught.
    return sys.platform == "darwin"
