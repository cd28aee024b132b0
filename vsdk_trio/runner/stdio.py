"""Claims stdin and stdout for the control channel, before anything else can write to them.

Must import nothing but what the interpreter has loaded anyway: it runs before every other import,
so that not even a print in a module of the user's can get into the channel.
"""

from __future__ import annotations

import io
import os
import sys


def claim() -> tuple[int, int]:
    """Move stdin and stdout to private descriptors; returns them as (receive, send).

    Afterwards stdin is empty and what is printed goes to stderr, line by line. The new descriptors
    are not inherited by the job's own subprocesses, which so cannot hold the channel open.
    """
    sys.stdout.flush()
    receive, send = os.dup(0), os.dup(1)
    try:  # noqa: SIM105  # contextlib may not be imported yet
        # What a sitecustomize or a tracer has printed may lack its newline: the first frame is not
        # to be taken for the rest of that line.
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
