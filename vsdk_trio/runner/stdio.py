"""Claims stdin and stdout for the control channel, before anything else can write to them.

It imports only modules that the interpreter has loaded anyway, because it runs before every other
import: no print in a module of the user can get into the channel.
"""

from __future__ import annotations

import io
import os
import sys


def claim() -> tuple[int, int]:
    """Move stdin and stdout to private descriptors.

    Afterwards stdin is empty, and printed text goes to stderr, line by line. The job's own
    subprocesses do not inherit the new descriptors, so they cannot hold the channel open.

    Returns:
        The descriptors to receive from and to send to.
    """
    sys.stdout.flush()
    receive, send = os.dup(0), os.dup(1)
    try:  # noqa: SIM105  # contextlib may not be imported yet
        # Text that a sitecustomize or a tracer has printed may lack its newline. The first frame
        # must not become the rest of that line.
        os.write(send, b"\n")
    except OSError:
        pass  # the worker is gone, as the first read will tell
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return receive, send
