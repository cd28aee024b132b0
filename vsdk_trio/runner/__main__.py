"""The program of a job process. The worker starts it, by `processes/program.py`."""

from __future__ import annotations


def run() -> None:
    """Be a job process on stdin and stdout, and end with its exit code."""
    import sys
    import time

    started_at = time.perf_counter()

    from .stdio import claim

    receive_fd, send_fd = claim()  # before anything else is imported, and could print

    from .early_signals import ignore_while_the_worker_lives, let_signals_in

    ignore_while_the_worker_lives(receive_fd)
    let_signals_in()

    from .process import main

    code = main(receive_fd, send_fd, started_at)
    # Or the collection at the interpreter's exit takes 50 ms of a slot's time.
    import gc

    gc.freeze()
    sys.exit(code)
